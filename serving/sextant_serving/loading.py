"""From a bundle's folder to a model that has proved itself: digests, golden requests, warm-up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_plan.bundle import GOLDEN_FILE, REFERENCE_FILE, BundleSpec, read_bundle
from sextant_plan.errors import BundleCorrupt, UsageError
from sextant_plan.reference import read_reference
from sextant_serving import engines
from sextant_serving.batch_sizes import SizedEngine
from sextant_serving.engines import Engine, Inputs, check_golden
from sextant_serving.errors import StoreUnavailable
from sextant_serving.features import FeatureLookup
from sextant_serving.metrics import ModelMetrics
from sextant_serving.on_demand import Transform, load_code, load_transform
from sextant_serving.stand_ins import StandIn, load_stand_ins
from sextant_serving.training_range import TrainingRange


@dataclass(frozen=True)
class Source:
    """Where a model comes from and the names it is served under; None takes the bundle's own.

    `previous` is the bundle of the version before it, which may stand in for it.
    """

    bundle: Path
    feature_repo: Path | None = None
    name: str | None = None
    version: str | None = None
    digest: str | None = None
    variant: str = "stable"
    previous: Path | None = None


@dataclass(frozen=True)
class Loaded:
    """What loading gives, before it is put to work on an event loop.

    `batch_seconds` is the processor time that a batch of one row takes of the thread that runs it.
    """

    name: str
    version: str
    spec: BundleSpec
    engine: Engine
    lookup: FeatureLookup | None
    attach: Callable[..., Any] | None
    metrics: ModelMetrics
    training_range: TrainingRange | None = None
    stand_ins: Sequence[StandIn] = ()
    batch_seconds: float = 0.0


def load(source: Source, *, threads: int, lookup_thread: Executor) -> Loaded:
    """Read, verify and warm up a bundle; blocks for seconds.

    Raises BundleCorrupt if a digest or a golden request differs, CodeDiffers or EntrypointError if the
    user's code is not what was sealed, StoreUnavailable, and UsageError if the bundle reads features and no
    feature repository is given. The store is opened on `lookup_thread`, where it will be used.
    """
    spec = read_bundle(source.bundle)
    if source.digest is not None and spec.digest != source.digest:
        raise BundleCorrupt(source.bundle, "bundle.json", spec.digest, source.digest)
    for needed in (GOLDEN_FILE, REFERENCE_FILE):
        if needed not in spec.files:
            raise BundleCorrupt(source.bundle, needed, "no content", "nothing of it, and serving needs it")
    engine = engines.load_engine(source.bundle, spec, threads=threads)
    check_golden(engine, source.bundle, spec)
    sizes = spec.serving.batch_sizes
    if sizes:
        engine = SizedEngine(engine, sizes)
    for rows in {1, spec.serving.max_rows, *sizes}:
        engine.run(_blank_inputs(spec, rows))
    batch_seconds = _batch_seconds(engine, _blank_inputs(spec, 1))
    lookup = None
    if spec.feature_service is not None:
        if source.feature_repo is None:
            raise UsageError(f"{source.bundle}: the model reads features. Give --feature-repo DIR, a Feast repository.")
        transforms = [load_transform(each) for each in spec.serving.on_demand]
        lookup = lookup_thread.submit(_open_lookup, source.feature_repo, spec, transforms).result()
    attach = load_code(spec.serving.attachment) if spec.serving.attachment else None
    name, version = source.name or spec.name, source.version or spec.version
    reference = read_reference(source.bundle / REFERENCE_FILE)
    metrics = ModelMetrics(spec, reference, (name, version, source.variant))
    seen = TrainingRange(spec, reference) if spec.serving.abstain_outside is not None else None
    stand_ins = load_stand_ins(spec, reference, source.previous, threads=threads)
    return Loaded(name, version, spec, engine, lookup, attach, metrics, seen, stand_ins, batch_seconds)


def _batch_seconds(engine: Engine, inputs: Inputs) -> float:
    """Return the least processor time of the calling thread in three runs: others' load does not count."""
    times = [time.thread_time()]
    for _ in range(3):
        engine.run(inputs)
        times.append(time.thread_time())
    return min(after - before for before, after in pairwise(times))


def _open_lookup(repo: Path, spec: BundleSpec, transforms: Sequence[Transform]) -> FeatureLookup:
    try:
        return FeatureLookup(repo, spec, transforms)
    except Exception as error:  # a registry can be away in as many ways as there are registries
        raise StoreUnavailable(repo, spec.feature_service or "", type(error).__name__) from error


def _blank_inputs(spec: BundleSpec, rows: int) -> Inputs:
    inputs: dict[str, NDArray[Any]] = {}
    if spec.image:
        inputs["image"] = np.zeros((rows, spec.image.height, spec.image.width, spec.image.channels), np.uint8)
    if spec.columns:
        inputs["features"] = np.zeros((rows, len(spec.columns)), np.float32)
    return inputs
