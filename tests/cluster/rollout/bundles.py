"""Bundles that differ from a trained one by a fault."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from sextant_plan.bundle import read_bundle, seal_bundle

# A busy machine stands still for seconds. An answer that comes late is one all the same, and no failed request.
DEADLINE_SECONDS = 30.0


def changed_bundle(source: Path, root: Path, **changes: Any) -> Path:
    """Copy a bundle with parts of its description changed, below its digest; `slow` are products added to its work."""
    spec = read_bundle(source)
    staged = root / "staged"
    shutil.copytree(source, staged)
    serving = spec.serving.model_copy(update={"deadline": DEADLINE_SECONDS, **changes.pop("serving", {})})
    slow = changes.pop("slow", 0)
    if slow:
        slow_down(staged / spec.members[0].file, slow)
    sealed = seal_bundle(staged, spec.model_copy(update={"serving": serving, **changes}))
    place = root / sealed.digest.removeprefix("sha256:")
    staged.rename(place)
    place.chmod(0o755)
    return place


def slow_down(network: Path, products: int) -> None:
    """Add so many products of 256 x 256 matrices that depend on the input and change no output."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(network)
    graph = model.graph
    square = numpy_helper.from_array(np.full((256, 256), 1e-6, np.float32), "slow_square")
    nothing = numpy_helper.from_array(np.array(0.0, np.float32), "slow_nothing")
    graph.initializer.extend([square, nothing])
    output = graph.output[0].name
    for node in graph.node:
        node.output[:] = [f"{name}_fast" if name == output else name for name in node.output]
    fast = f"{output}_fast"
    nodes = [
        helper.make_node("ReduceSum", [fast], ["slow_total"], keepdims=0),
        helper.make_node("Mul", ["slow_total", "slow_square"], ["slow_0"]),
    ]
    for index in range(products):
        nodes.append(helper.make_node("MatMul", [f"slow_{index}", "slow_square"], [f"slow_{index + 1}"]))
    nodes += [
        helper.make_node("ReduceMax", [f"slow_{products}"], ["slow_top"], keepdims=0),
        helper.make_node("Mul", ["slow_top", "slow_nothing"], ["slow_zero"]),
        helper.make_node("Add", [fast, "slow_zero"], [output]),
    ]
    graph.node.extend(nodes)
    onnx.save(model, network)
