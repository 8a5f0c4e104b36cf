"""The bundle's members as ONNX, whichever engine it was sealed for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.modelling.exports.parity import golden_of
from sextant_plan.bundle import BundleSpec, Member
from sextant_plan.errors import UsageError

if TYPE_CHECKING:
    from sextant_serving.architectures import Network


class NoNetwork(UsageError):
    """Trees, which have no ONNX form here, asked for a target that runs ONNX."""

    def __init__(self, spec: BundleSpec, target: str) -> None:
        super().__init__(
            f"{spec.name}: the model is trees, which run with LightGBM and not as ONNX: no export for {target}. "
            "Export it as a package, or name networks alone in model.candidates."
        )


def write_onnx_files(bundle: Path, spec: BundleSpec, folder: Path, *, target: str) -> list[str]:
    """Write one ONNX file for each member into `folder`; return their names. Raises NoNetwork."""
    if spec.engine == "lightgbm":
        raise NoNetwork(spec, target)
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"model-{number}.onnx" if len(spec.members) > 1 else "model.onnx" for number in range(len(spec.members))]
    for member, name in zip(spec.members, names, strict=True):
        if member.file.endswith(".onnx"):
            shutil.copyfile(bundle / member.file, folder / name)
        else:
            _export(bundle, spec, member, folder / name)
    return names


def _export(bundle: Path, spec: BundleSpec, member: Member, path: Path) -> None:
    from safetensors.torch import load_file

    from sextant_components.modelling.bundle_export import export_onnx
    from sextant_serving.architectures import build

    network: Network = build(
        member.architecture,
        member.params,
        image=spec.image,
        columns=len(spec.columns),
        classes=len(spec.classes),
    )
    network.load_state_dict(load_file(bundle / member.file))
    inputs, _ = golden_of(bundle, spec)
    export_onnx(network, path, inputs)


def answer_by_onnx(
    folder: Path, names: list[str], spec: BundleSpec, inputs: dict[str, NDArray[Any]]
) -> NDArray[np.float32]:
    """Return the members' mean answer by ONNX Runtime, from the exported files alone."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    found = []
    for name in names:
        session = onnxruntime.InferenceSession(folder / name, options, providers=["CPUExecutionProvider"])
        wanted = {each.name: inputs[each.name] for each in session.get_inputs()}
        found.append(session.run([spec.outputs[0].name], wanted)[0])
    mean: NDArray[np.float32] = np.mean(found, axis=0, dtype=np.float32)
    return mean
