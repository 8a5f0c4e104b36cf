"""What is loaded leaves with its last request, and the garbage collector does not look at it in between."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sextant_serving.access import Access
from sextant_serving.application import Application
from sextant_serving.batching import Traffic
from sextant_serving.call import Call
from sextant_serving.decoders import Decoders
from sextant_serving.feedback import FeedbackBook
from sextant_serving.loading import Source, load
from sextant_serving.metrics_page import MetricsPage
from sextant_serving.model import Model
from sextant_serving.repository import Repository
from sextant_serving.rows import Rows
from sextant_serving.variants import Variants

PATIENCE = 30.0  # seconds for the device's thread to let go of its last piece of work, on a busy machine


@pytest.fixture
def no_collector() -> Iterator[None]:
    """The garbage collector does nothing."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_a_model_that_is_replaced_is_freed_without_the_collector(bundle: Path) -> None:
    """After requests on the thread and on the loop, nothing but the variants in service holds it."""

    async def run() -> None:
        with ThreadPoolExecutor(1) as device:
            loaded = load(Source(bundle), threads=1, lookup_thread=device)
            engine = weakref.ref(loaded.engine)
            model = Model(loaded, Traffic(), device=device, lookup_thread=device)
            application = Application(MetricsPage(), FeedbackBook(10, None), device, Decoders(device, threads=1))
            application.variants = Variants(model)
            rows = Rows(1, image=np.zeros((1, 8, 8, 1), np.uint8), features=np.zeros((1, 2), np.float32))
            for _ in range(4):
                call = Call(application.variants, {}, lambda _: rows, 0)
                await application.predict(call, rows, time.monotonic())
            del loaded, model, call
            application.variants = None
            patience = time.monotonic() + PATIENCE
            while engine() is not None and time.monotonic() < patience:
                await asyncio.sleep(0.001)
            assert engine() is None

    asyncio.run(run())


@pytest.mark.usefixtures("no_collector")
def test_an_unloaded_model_is_freed_and_still_known_by_name(bundle: Path) -> None:
    """The index has its name and version until another is loaded; its memory is there for that one."""

    async def run() -> None:
        with ThreadPoolExecutor(1) as device:
            loaded = load(Source(bundle), threads=1, lookup_thread=device)
            engine = weakref.ref(loaded.engine)
            application = Application(MetricsPage(), FeedbackBook(10, None), device, Decoders(device, 1))
            application.variants = Variants(Model(loaded, Traffic(), device=device, lookup_thread=device))
            del loaded

            async def swap() -> None:
                raise AssertionError

            repository = Repository(application, swap, Access(None, None))
            known = {"name": "parcels", "version": "3"}
            assert repository.index() == [{**known, "state": "READY", "reason": ""}]
            await repository.unload("parcels")
            assert engine() is None
            assert repository.index() == [{**known, "state": "UNAVAILABLE", "reason": "unloaded"}]

    asyncio.run(run())
