"""From a trained network to the files of a bundle: weights for each engine, golden requests, the description."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.tables import SplitsInfo
from sextant_components.modelling.ensembling import mean_answers
from sextant_components.modelling.model_file import TrainedModel, numbered, save_weights
from sextant_components.modelling.tensors import Inputs
from sextant_components.modelling.training import predict, tensors_of
from sextant_components.runs.context import RunContext
from sextant_plan.bundle import (
    GOLDEN_FILE,
    PROBABILITIES,
    REFERENCE_FILE,
    VALUE,
    BundleSpec,
    Engine,
    Member,
    ServingSpec,
    Tensor,
    answer_name,
    seal_bundle,
)
from sextant_plan.canonical import digest_of, digest_of_files
from sextant_plan.catalogue import Kind
from sextant_plan.schema import EngineName, Plan
from sextant_serving.on_demand import code_reference, on_demand_specs

if TYPE_CHECKING:
    from sextant_components.modelling.training import Learned
    from sextant_serving.architectures import Network

GOLDEN_ROWS = 16
TOLERANCE = 1e-4  # of a probability, or of the labels' spread; float32 sums in another order differ by about 1e-6
FILES: Mapping[str, str] = {
    "torch-safetensors": "model.safetensors",
    "torch-channels-last": "model.safetensors",
    "torch-bf16": "model.safetensors",
    "torch-cuda-graphs": "model.safetensors",
    "torch-cuda-graphs-bf16": "model.safetensors",
    "onnx": "model.onnx",
    "openvino": "model.onnx",
    "lightgbm": "model.lightgbm.txt",
}
ONNX_OPSET = 17


def engines_for(network: Learned, wanted: Sequence[EngineName]) -> Sequence[Engine | EngineName]:
    """Return the engines that can run what was learned: the plan's for a network, LightGBM's own for trees."""
    from sextant_serving.architectures.gradient_boosting import Trees

    return ["lightgbm"] if isinstance(network, Trees) else wanted


def member_files(engine: str, members: int) -> list[str]:
    """Return the names of the files that hold a bundle's members for an engine."""
    return [numbered(FILES[engine], number) for number in range(members)]


def write_weights(engine: str, members: Sequence[Learned], folder: Path, golden: Inputs) -> None:
    """Write what was learned as one engine's files into `folder`, one a member."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, network in zip(member_files(engine, len(members)), members, strict=True):
        if FILES[engine] == FILES["onnx"]:
            export_onnx(cast("Network", network), folder / name, golden)
        else:
            save_weights(network, folder / name)


def export_onnx(network: Network, path: Path, inputs: Inputs) -> None:
    """Write the network with the last step to its answer as ONNX; every input's first dimension is `rows`.

    The tracing exporter is used although torch calls it legacy: on these networks it takes 0.02 to 0.4 s where
    the newer one takes 2.6 to 30 s, gives the same outputs, and writes no source paths into the file.
    """
    import torch

    from sextant_serving.architectures import Answering

    output = VALUE if network.numeric else PROBABILITIES
    tensors = tensors_of({name: inputs[name][:2] for name in network.reads}, network.reads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation of the exporter, and tracer notes on constants
        torch.onnx.export(
            Answering(network).eval(),
            (),
            str(path),
            kwargs=tensors,
            dynamo=False,
            opset_version=ONNX_OPSET,
            input_names=list(tensors),
            output_names=[output],
            dynamic_axes={name: {0: "rows"} for name in (*tensors, output)},
        )


def write_golden(
    folder: Path,
    members: Sequence[Learned],
    golden: Inputs,
    output: str,
    answers: NDArray[np.float32] | None = None,
) -> None:
    """Write the golden requests with the outputs of the trained networks themselves, or with `answers`."""
    arrays: dict[str, Any] = {name: golden[name] for name in members[0].reads}
    if answers is None:
        answers = mean_answers([predict(network, arrays) for network in members])
    arrays[output] = answers
    np.savez(folder / GOLDEN_FILE, **arrays)


def describe(
    context: RunContext,
    model: TrainedModel,
    splits: SplitsInfo,
    *,
    engine: Engine,
    files: Mapping[str, str],
    tolerance: float = 0.0,
) -> BundleSpec:
    """Return the description of a bundle before it is sealed; `files` are the digests of its weights.

    Golden answers may be off by `tolerance` where that is more than the plan's.

    The version is a digest of what was learned and from what, so that training again on the same data by the
    same plan gives the same version, while the bundle's digest also covers when it was made.
    """
    image, columns = model.image, model.columns
    stored = any(column.view is not None for column in columns)
    inputs = (
        [Tensor(name="image", datatype="UINT8", shape=[-1, image.height, image.width, image.channels])] if image else []
    )
    inputs += [Tensor(name="features", datatype="FP32", shape=[-1, len(columns)])] if columns else []
    content = {"files": dict(files), "plan": context.plan_hash, "data": splits.data_hash}
    return BundleSpec(
        name=context.plan.name,
        version=digest_of(content).removeprefix("sha256:")[:12],
        task=context.plan.model.task,
        engine=engine,
        members=[Member(file=name, architecture=model.architecture, params=model.params) for name in sorted(files)],
        image=image,
        columns=columns,
        entity=context.plan.data.entity,
        feature_service=splits.feature_service if stored else None,
        classes=model.classes,
        inputs=inputs,
        outputs=[Tensor(name=answer_name(model.classes), datatype="FP32", shape=[-1, len(model.classes) or 1])],
        serving=serving_spec(context.plan),
        golden_tolerance=max(context.plan.model.tolerance, tolerance) * model.spread,
        plan_hash=context.plan_hash,
        data_hash=splits.data_hash,
        created=time.time(),
        files={},
    )


def serving_spec(plan: Plan) -> ServingSpec:
    """Return what the server has to know of the plan; every limit on a latency is an edge of the histogram."""
    batching, fallback = plan.serving.batching, plan.serving.fallback
    limits = {criterion.limit for criterion in plan.criteria if criterion.definition.kind is Kind.LATENCY}
    entrypoint = plan.serving.attachment
    return ServingSpec(
        max_rows=batching.max_rows,
        max_wait=batching.max_wait,
        queue_rows=batching.queue_rows,
        deadline=batching.deadline,
        latency_edges_ms=sorted(limits | {plan.serving.latency_slo_ms}),
        abstain_below=fallback.abstain_below,
        missing_features=fallback.missing_features,
        abstain_outside=fallback.abstain_outside,
        engine_failure=fallback.engine_failure,
        batch_sizes=batching.sizes,
        log=plan.serving.log,
        attachment=code_reference(entrypoint) if entrypoint else None,
        on_demand=on_demand_specs(plan),
    )


def assemble(
    bundle: Path,
    context: RunContext,
    model: TrainedModel,
    splits: SplitsInfo,
    *,
    engine: Engine,
    weights: Path,
    members: Sequence[Learned],
    golden: Inputs,
    reference: Path,
    answers: NDArray[np.float32] | None = None,
    tolerance: float = 0.0,
) -> BundleSpec:
    """Write a sealed bundle; what an earlier attempt left in the folder is removed first.

    `answers` are those to the golden requests where they are not the trained networks', `tolerance` as in `describe`.
    """
    if bundle.exists():
        shutil.rmtree(bundle)
    bundle.mkdir(parents=True)
    names = member_files(engine, len(members))
    for name in names:
        shutil.copyfile(weights / name, bundle / name)
    shutil.copyfile(reference, bundle / REFERENCE_FILE)
    write_golden(bundle, members, golden, answer_name(model.classes), answers)
    files = digest_of_files(bundle, names)
    described = describe(context, model, splits, engine=engine, files=files, tolerance=tolerance)
    return seal_bundle(bundle, described)
