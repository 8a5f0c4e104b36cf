"""Requests that are large in one way or another hold nobody up for long, and are refused before they cost much."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sextant_serving.application import Application
from sextant_serving.codec_grpc import InferRequest
from sextant_serving.codec_v1 import parse_v1
from sextant_serving.codec_v2 import parse_v2
from sextant_serving.decoders import Decoders
from sextant_serving.errors import TooLarge
from sextant_serving.feedback import FeedbackBook
from sextant_serving.grpc_protocol import message
from sextant_serving.http_types import Request, Response
from sextant_serving.loading import Source, load
from sextant_serving.metrics_page import MetricsPage
from sextant_serving.model import Model
from sextant_serving.reading import json_limit
from sextant_serving.rows import Signature
from sextant_serving.variants import Variants

Post = Callable[[str, bytes], Response]
PREDICT, INFER = "/v1/models/parcels:predict", "/v2/models/parcels/infer"


@pytest.fixture
def post(bundle: Path) -> Post:
    """Have an application without sockets answer a body; it takes 200 kB of JSON."""

    def answer(path: str, body: bytes) -> Response:
        async def run() -> Response:
            with ThreadPoolExecutor(1) as threads:
                model = Model(
                    load(Source(bundle, name="parcels"), threads=1, lookup_thread=threads),
                    None,
                    device=threads,
                    lookup_thread=threads,
                )
                book = FeedbackBook(10, None)
                application = Application(MetricsPage(), book, threads, Decoders(threads, 1), json_bytes=200_000)
                application.variants = Variants(model)
                return await application.handle(Request(b"POST", path.encode(), {}, body, time.monotonic()))

        return asyncio.run(run())

    return answer


@pytest.mark.parametrize("path", [PREDICT, INFER])
def test_json_over_its_limit_is_refused_unread(post: Post, path: str) -> None:
    """Not even its syntax is looked at."""
    assert post(path, b"[" * 200_001).status == 413
    assert post(path, b"[" * 200_000).status == 400


def test_a_quarter_of_the_largest_body_may_be_json() -> None:
    """Small limits are not cut further."""
    assert [json_limit(size) for size in (2000, 1 << 21, 1 << 25)] == [2000, 1 << 20, 1 << 23]


def test_the_collector_does_not_walk_through_json_as_it_grows(post: Post) -> None:
    """Lists by the ten thousand are read without a collection, and the collector is back afterwards."""
    runs: list[str] = []

    def note(phase: str, _: dict[str, int]) -> None:
        runs.append(phase)

    body = json.dumps({"instances": [[[9]] * 10_000] * 3}).encode()
    post(PREDICT, body)  # what is imported and kept at first
    gc.callbacks.append(note)
    try:
        assert post(PREDICT, json.dumps({"instances": []}).encode()).status == 400
        usual = len(runs)
        runs.clear()
        assert post(PREDICT, body).status == 400
    finally:
        gc.callbacks.remove(note)
    assert len(runs) <= usual + 10
    assert gc.isenabled()


def test_rows_beyond_the_queue_are_refused_before_they_are_read(bundle: Path) -> None:
    """By their number alone, in each protocol; also the elements of a BYTES tensor, each an object of its own."""
    from sextant_plan.bundle import read_bundle

    signature = Signature(read_bundle(bundle))
    many = signature.most_rows + 1
    with pytest.raises(TooLarge, match="rows"):
        parse_v1(json.dumps({"instances": [{"unknown": 1}] * many}).encode(), signature)
    for datatype, shape in (("FP32", [many]), ("BYTES", [1, many])):
        tensors = [{"name": "a", "datatype": "FP32", "shape": [1], "data": ["no number"]}]
        tensors.insert(0, {"name": "b", "datatype": datatype, "shape": shape, "data": ["no number"]})
        with pytest.raises(TooLarge, match="rows"):
            parse_v2(json.dumps({"inputs": tensors}).encode(), None, signature)
        asked = message("ModelInferRequest")(model_name="parcels", raw_input_contents=[b"", b""])
        asked.inputs.add(name="a", datatype="FP32", shape=[1])
        asked.inputs.add(name="b", datatype=datatype, shape=shape)
        with pytest.raises(TooLarge, match="rows"):
            InferRequest.read(asked.SerializeToString()).rows(signature)
