"""A wheel with the bundle in it: `pip install` it, call `predict`; preprocessing and engines are the server's own."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from sextant_components.modelling.exports.parity import Parity, golden_of, write_parity
from sextant_plan import __version__
from sextant_plan.bundle import BundleSpec
from sextant_plan.errors import InfrastructureError

TARGET = "package"
EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's first day: the same bundle gives the same wheel
NEEDS = {
    "onnx": ["onnxruntime>=1.20"],
    "openvino": ["openvino>=2025.1"],
    "lightgbm": ["lightgbm>=4.5"],
}
TORCH = ["torch>=2.15", "safetensors>=0.5"]
MODULE = '''"""{name}, version {version}: predictions by the bundle in this package."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sextant_serving.local_model import LocalModel, Row


@cache
def model() -> LocalModel:
    """Return the model, loaded and proved on its golden requests the first time."""
    return LocalModel(Path(__file__).parent / "bundle")


def predict(rows: list[Row]) -> list[dict[str, float]]:
    """Return the probability of each class for each row: columns by name, and `image` as the bytes of a JPEG or PNG."""
    return model().predict(rows)
'''
PROOF = """
import sys
import numpy as np
from importlib import import_module
model = import_module(sys.argv[1]).model()
with np.load(sys.argv[2], allow_pickle=False) as golden:
    inputs = {name: golden[name] for name in sys.argv[4:]}
np.save(sys.argv[3], model.run(inputs))
"""


def export_package(bundle: Path, spec: BundleSpec, folder: Path) -> Parity:
    """Write the wheel into `folder`, install it into an empty folder and prove that what was installed predicts.

    Raises InfrastructureError if it cannot be installed, and ExportDiffers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wheel = write_wheel(bundle, spec, folder)
    inputs, expected = golden_of(bundle, spec)
    with tempfile.TemporaryDirectory() as scratch:
        installed, answers = Path(scratch) / "installed", Path(scratch) / "answers.npy"
        _run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(installed),
              str(wheel)], installed.parent, {})  # fmt: skip
        golden = installed / module_name(spec) / "bundle" / "golden.npz"
        command = [sys.executable, "-c", PROOF, module_name(spec), str(golden), str(answers), *inputs]
        _run(command, installed.parent, {"PYTHONPATH": str(installed)})
        found = np.load(answers, allow_pickle=False)
    return write_parity(folder, spec, found, expected, target=TARGET, method="the wheel, installed and imported")


def module_name(spec: BundleSpec) -> str:
    """Return the name to import: the plan's, with underscores."""
    name = re.sub(r"\W", "_", spec.name)
    return name if name[:1].isalpha() else f"model_{name}"


def write_wheel(bundle: Path, spec: BundleSpec, folder: Path) -> Path:
    """Write a wheel as PEP 427 has it; the bundle's version is the local part of the wheel's."""
    module, version = module_name(spec), f"1+{spec.version}"
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}/__init__.py": MODULE.format(name=spec.name, version=spec.version).encode(),
        f"{module}/py.typed": b"",
        **{
            f"{module}/bundle/{path.relative_to(bundle)}": path.read_bytes()
            for path in sorted(bundle.rglob("*"))
            if path.is_file()
        },
        f"{info}/METADATA": _metadata(spec, version).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: sextant\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={_hash(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return path


def _metadata(spec: BundleSpec, version: str) -> str:
    needs = [f"sextant-mlops=={__version__}", *NEEDS.get(spec.engine, TORCH), *(["pillow>=11"] if spec.image else [])]
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {module_name(spec).replace('_', '-')}",
        f"Version: {version}",
        f"Summary: The model {spec.name}, bundle {spec.digest}",
        "Requires-Python: >=3.11,<3.12",
        *(f"Requires-Dist: {need}" for need in needs),
    ]
    return "\n".join(lines) + "\n"


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    import os

    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise InfrastructureError(
            f"{command[0]}: the wheel could not be tried ({words[-1] if words else 'no message'}). "
            "Install pip and the model's engine in this environment."
        )
