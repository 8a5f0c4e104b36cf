"""For small devices: ONNX Runtime's own format, which its mobile and embedded builds load without a parser for ONNX."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from sextant_components.modelling.exports.onnx_files import answer_by_onnx, write_onnx_files
from sextant_components.modelling.exports.parity import Parity, describe_model, golden_of, write_parity
from sextant_plan.bundle import GOLDEN_FILE, BundleSpec

TARGET = "edge"


def export_edge(bundle: Path, spec: BundleSpec, folder: Path) -> Parity:
    """Write `.onnx` and `.ort` files, model.json and the golden requests; prove the `.ort` files.

    Raises NoNetwork and ExportDiffers.
    """
    names = write_onnx_files(bundle, spec, folder, target=TARGET)
    compact = [_convert(folder, name) for name in names]
    shutil.copyfile(bundle / GOLDEN_FILE, folder / GOLDEN_FILE)
    (folder / "model.json").write_text(describe_model(spec, {"members": compact}), encoding="utf-8")
    inputs, expected = golden_of(bundle, spec)
    found = answer_by_onnx(folder, compact, spec, inputs)
    return write_parity(folder, spec, found, expected, target=TARGET, method="ONNX Runtime on the .ort files")


def _convert(folder: Path, name: str) -> str:
    """Write the `.ort` file beside an ONNX file; return its name.

    Of the optimisations only those are applied that do not depend on this machine's processor.
    """
    import onnxruntime

    target = name.replace(".onnx", ".ort")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry("session.save_model_format", "ORT")
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch) / target
        options.optimized_model_filepath = str(written)
        onnxruntime.InferenceSession(folder / name, options, providers=["CPUExecutionProvider"])
        shutil.move(written, folder / target)
    return target
