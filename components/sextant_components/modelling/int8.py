"""The ONNX form of a model in 8 bits, by ONNX Runtime's own quantiser."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sextant_components.modelling.tensors import Inputs, batches

CALIBRATION_ROWS = 200  # training rows on which the range of every activation is measured
CALIBRATION_BATCH = 20
TOLERANCE = 0.02  # of a probability or of the labels' spread: processors with and without VNNI sum 8-bit products apart


class _Calibration:
    """Feeds the quantiser; it asks for one batch after another until it gets None."""

    def __init__(self, rows: Inputs, names: list[str]) -> None:
        self._pieces = iter(batches({name: rows[name] for name in names}, CALIBRATION_BATCH))

    def get_next(self) -> Inputs | None:
        return next(self._pieces, None)


def quantise(source: Path, target: Path, mode: Literal["static", "dynamic"], rows: Inputs) -> None:
    """Write the ONNX file `source` with weights in 8 bits to `target`.

    `static` also computes in 8 bits, by the ranges of activations on `rows`; `dynamic` finds the ranges at each
    request, and is for networks whose time goes into matrix products. Weights keep 7 of the 8 bits, because
    processors without VNNI would otherwise clip the sums of products.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    common: dict[str, Any] = {"weight_type": QuantType.QInt8, "per_channel": True, "reduce_range": True}
    with _quiet():
        if mode == "dynamic":
            quantize_dynamic(source, target, op_types_to_quantize=["MatMul", "Gemm"], **common)
            return
        names = [each.name for each in onnx.load(source).graph.input]
        quantize_static(
            source,
            target,
            _Calibration(rows, names),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            **common,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice on preprocessing, which these small graphs do not need, out of the step's log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
