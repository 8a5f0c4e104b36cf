"""Ridge regression over all that a request holds, sealed as a bundle: the least model that a server can serve.

Features of a store come with the request, since no store is filled yet while a plan is judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.encoding import encoded, fit_columns, model_inputs
from sextant_components.data.tables import feature_matrix
from sextant_components.evaluation.server_probe import Request
from sextant_components.modelling.bundle_export import FILES, ONNX_OPSET, serving_spec
from sextant_components.modelling.tensors import Inputs
from sextant_components.planning.feasibility.heading import Study
from sextant_components.planning.feasibility.quick_models import ridge_weights
from sextant_components.planning.feasibility.representation import decoded_pictures
from sextant_plan.bundle import (
    GOLDEN_FILE,
    REFERENCE_FILE,
    BundleSpec,
    Column,
    Member,
    Tensor,
    answer_name,
    seal_bundle,
)
from sextant_plan.reference import Reference, profile, write_reference
from sextant_serving.on_demand import feast_name

if TYPE_CHECKING:
    import polars as pl

FITTED_ROWS = 64
GOLDEN_ROWS = 2
TOLERANCE = 1e-2  # of sums over a whole picture, in float32
WHITE = 255.0
UNBOUND = "sha256:" + "0" * 64  # it is served for seconds and belongs to no run


@dataclass(frozen=True)
class QuickBundle:
    """A sealed bundle and what can be asked of it: the rows' pictures as files, and their columns as sent."""

    folder: Path
    spec: BundleSpec
    pictures: list[Path] | None
    fields: list[dict[str, Any]]

    def requests(self) -> list[Request]:
        """Return one request for each row."""
        pictures: Sequence[Path | None] = self.pictures or [None] * len(self.fields)
        return [Request(p.read_bytes() if p else None, row) for p, row in zip(pictures, self.fields, strict=True)]


def quick_bundle(study: Study, folder: Path) -> QuickBundle:
    """Fit the model on a sample of the study and seal it in an empty folder."""
    plan, chosen = study.plan, study.sample.rows[:FITTED_ROWS]
    read = _columns_read(study)
    columns = [column.model_copy(update={"view": None}) for column in fit_columns(plan, read)]
    shown = read[chosen]
    inputs: Inputs = {}
    if plan.model.inputs.image is not None:
        inputs["image"] = decoded_pictures(study, chosen)
    if columns:
        inputs["features"] = feature_matrix(encoded(shown, columns), columns)
    names = sorted(set(study.labels))
    weights = ridge_weights(_flat(inputs), _target(study, chosen, names)).astype(np.float32)
    answer = answer_name(names)
    _write_network(folder / FILES["onnx"], inputs, weights, answer)
    golden = {name: array[:GOLDEN_ROWS] for name, array in inputs.items()}
    np.savez(folder / GOLDEN_FILE, **golden, **{answer: _answers(_flat(golden), weights, names)})  # type: ignore[arg-type]
    write_reference(folder / REFERENCE_FILE, _reference(study, names))
    spec = seal_bundle(folder, _described(study, columns, names))
    pictures = [study.pictures[row] for row in chosen] if study.pictures is not None else None
    return QuickBundle(folder, spec, pictures, shown.drop("row_id").to_dicts())


def _columns_read(study: Study) -> pl.DataFrame:
    """Return what the model reads besides pictures, every row of it, as `model_inputs` does."""
    import polars as pl

    rows, named = study.rows, study.plan.model.inputs.features
    found = ((view, rows[name]) for view, _, name in (feature.partition(":") for feature in named))
    features = pl.DataFrame([column.alias(f"{feast_name(view)}__{column.name}") for view, column in found])
    if "row_id" not in rows.columns:
        rows = rows.with_row_index("row_id")
    return model_inputs(study.plan, rows, features)


def _target(study: Study, chosen: list[int], names: list[str]) -> NDArray[np.float64]:
    if not names:
        return study.numbers[chosen].reshape(-1, 1)
    return np.asarray([[study.labels[row] == name for name in names] for row in chosen], dtype=np.float64)


def _flat(inputs: Inputs) -> NDArray[np.float64]:
    """Return the numbers that the network reads of each row, a picture's from 0 to 1."""
    parts = [
        array.reshape(len(array), -1).astype(np.float64) / (WHITE if name == "image" else 1.0)
        for name, array in inputs.items()
    ]
    return np.hstack(parts)


def _answers(flat: NDArray[np.float64], weights: NDArray[np.float32], names: list[str]) -> NDArray[np.float32]:
    scores = flat @ weights[:-1] + weights[-1]
    if names:
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
    return np.asarray(scores, dtype=np.float32)


def _write_network(path: Path, inputs: Inputs, weights: NDArray[np.float32], answer: str) -> None:
    """Write the network: inputs as float, joined, times the weights; then softmax where there are classes."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    types = {"image": TensorProto.UINT8, "features": TensorProto.FLOAT}
    given = [helper.make_tensor_value_info(name, types[name], ["rows", *a.shape[1:]]) for name, a in inputs.items()]
    nodes, flat = [], []
    constants = {"weights": weights[:-1], "constant": weights[-1]}
    for name in inputs:
        nodes += [
            helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", [f"{name}_float"], [f"{name}_flat"]),
        ]
        flat.append(f"{name}_flat")
    if "image" in inputs:
        constants["white"] = np.float32(WHITE)
        nodes.append(helper.make_node("Div", [flat[0], "white"], ["image_light"]))
        flat[0] = "image_light"
    nodes.append(helper.make_node("Concat", flat, ["joined"], axis=1))
    classes = answer == "probabilities"
    nodes.append(helper.make_node("Gemm", ["joined", "weights", "constant"], ["scores" if classes else answer]))
    if classes:
        nodes.append(helper.make_node("Softmax", ["scores"], [answer], axis=1))
    output = helper.make_tensor_value_info(answer, TensorProto.FLOAT, ["rows", weights.shape[1]])
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "quick", given, [output], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", ONNX_OPSET)], ir_version=8)
    onnx.save(model, str(path))


def _reference(study: Study, names: list[str]) -> Reference:
    if names:
        return Reference(features=[], classes=dict(sorted(Counter(study.labels).items())))
    return Reference(features=[], classes={}, prediction=profile("prediction", study.numbers))


def _described(study: Study, columns: list[Column], names: list[str]) -> BundleSpec:
    plan = study.plan
    image = plan.model.inputs.image
    inputs = (
        [Tensor(name="image", datatype="UINT8", shape=[-1, image.height, image.width, image.channels])] if image else []
    )
    inputs += [Tensor(name="features", datatype="FP32", shape=[-1, len(columns)])] if columns else []
    return BundleSpec(
        name=plan.name,
        version="quick",
        task=plan.model.task,
        engine="onnx",
        members=[Member(file=FILES["onnx"], architecture="linear")],
        image=image,
        columns=columns,
        entity=None,
        feature_service=None,
        classes=names,
        inputs=inputs,
        outputs=[Tensor(name=answer_name(names), datatype="FP32", shape=[-1, len(names) or 1])],
        serving=serving_spec(plan).model_copy(update={"attachment": None, "on_demand": [], "abstain_outside": None}),
        golden_tolerance=TOLERANCE * (1.0 if names else float(np.ptp(study.numbers)) or 1.0),
        plan_hash=UNBOUND,
        data_hash=UNBOUND,
        created=0.0,
        files={},
    )
