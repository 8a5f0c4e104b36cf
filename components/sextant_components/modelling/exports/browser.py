"""For a browser: a folder with the network as ONNX, a page that runs it, and the runtime that the page needs.

The runtime is onnxruntime-web, as its makers publish it in the npm registry: a tarball that the user fetches and names,
verified against the digest below. Nothing is loaded from elsewhere when the page is opened; served from any static host
it works without a network. The page proves itself each time: it answers the golden requests first and says what came.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tarfile
from importlib.resources import files
from pathlib import Path

from sextant_components.modelling.exports.onnx_files import answer_by_onnx, write_onnx_files
from sextant_components.modelling.exports.parity import Parity, describe_model, golden_of, write_parity
from sextant_plan.bundle import BundleSpec
from sextant_plan.errors import UsageError

TARGET = "browser"
RUNTIME = "onnxruntime-web@1.30.0"
RUNTIME_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
# What a page needs that computes on the processor; the tarball has sixty further builds.
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
PAGE_FILES = ("index.html", "page.js", "picture.js", "page.css")


class RuntimeMissing(UsageError):
    """The browser's runtime is not there, or is another."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"--runtime: {problem}. Fetch it with npm pack {RUNTIME}, and give --runtime onnxruntime-web-1.30.0.tgz."
        )


def export_browser(bundle: Path, spec: BundleSpec, folder: Path, *, runtime: Path | None) -> Parity:
    """Write the folder; prove the ONNX files with ONNX Runtime here, as the page does in the browser.

    Raises RuntimeMissing, NoNetwork and ExportDiffers.
    """
    packed = _verified(runtime)
    names = write_onnx_files(bundle, spec, folder, target=TARGET)
    inputs, expected = golden_of(bundle, spec)
    golden = {
        "inputs": {
            name: {"shape": list(array.shape), "data": array.ravel().tolist()} for name, array in inputs.items()
        },
        "expected": expected.tolist(),
    }
    (folder / "golden.json").write_text(json.dumps(golden), encoding="utf-8")
    (folder / "model.json").write_text(describe_model(spec, {"members": names}), encoding="utf-8")
    for name in PAGE_FILES:
        (folder / name).write_bytes(files("sextant_components.modelling.exports").joinpath("page", name).read_bytes())
    _unpack(packed, folder / "runtime")
    found = answer_by_onnx(folder, names, spec, inputs)
    return write_parity(
        folder, spec, found, expected, target=TARGET, method="ONNX Runtime here; the page repeats it when it is opened"
    )


def _verified(runtime: Path | None) -> Path:
    if runtime is None:
        raise RuntimeMissing("a page needs the runtime that computes in it")
    try:
        found = base64.b64encode(hashlib.sha512(runtime.read_bytes()).digest()).decode()
    except OSError as error:
        raise RuntimeMissing(f"{runtime} cannot be read") from error
    if found != RUNTIME_SHA512:
        raise RuntimeMissing(f"{runtime} has the SHA-512 {found[:12]}…, {RUNTIME} has {RUNTIME_SHA512[:12]}…")
    return runtime


def _unpack(packed: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(packed) as archive:
        for name in RUNTIME_FILES:
            member = archive.extractfile(f"package/dist/{name}")
            assert member is not None  # the digest says that it is there
            (folder / name).write_bytes(member.read())
