"""Exports answer as the bundle they come from: installed, compacted and proved; and they say what they cannot be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner

from sextant_components.data.tables import image_bytes
from sextant_components.modelling.exports.browser import RuntimeMissing, export_browser
from sextant_components.modelling.exports.edge import export_edge
from sextant_components.modelling.exports.onnx_files import NoNetwork
from sextant_components.modelling.exports.package import export_package, module_name, write_wheel
from sextant_components.modelling.exports.parity import ExportDiffers, golden_of
from sextant_pipelines.commands.export import command
from sextant_plan.bundle import BUNDLE_FILE, read_bundle, seal_bundle
from sextant_plan.canonical import digest_of_file
from sextant_plan.verdicts import Verdict
from sextant_serving.errors import BadPicture
from sextant_serving.local_model import LocalModel


def test_a_wheel_installs_and_predicts_from_pictures(made: Any, bars: Any, tmp_path: Path) -> None:
    """Installed elsewhere, it gives for a picture's bytes what the bundle gives here; the proof names the bundle."""
    parity = export_package(made.bundle, made.spec, tmp_path / "out")
    assert (parity.verdict, parity.bundle_digest) == (Verdict.PASS, made.spec.digest)
    (wheel,) = (tmp_path / "out").glob("*.whl")
    assert parity.files[wheel.name] == digest_of_file(wheel)
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    (picture,) = image_bytes(bars.snapshot, [3])
    (tmp_path / "one.png").write_bytes(picture)
    code = "import json, sys; from pathlib import Path; from bars import predict\n"
    code += "print(json.dumps(predict([{'image': Path(sys.argv[1]).read_bytes()}])))"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "one.png")],
        cwd=tmp_path, env=environment, check=True, capture_output=True,
    ).stdout  # fmt: skip
    assert json.loads(said) == LocalModel(made.bundle).predict([{"image": picture}])


def test_the_same_bundle_gives_the_same_wheel_and_names_what_it_needs(made: Any, tmp_path: Path) -> None:
    """No time of writing is in it; the runtime of the bundle's engine is among the requirements."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = (write_wheel(made.bundle, made.spec, tmp_path / name) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        text = archive.read(metadata).decode()
    needed = {"onnx": "onnxruntime", "torch-safetensors": "torch"}[made.spec.engine]
    assert f"Requires-Dist: {needed}" in text
    assert module_name(made.spec.model_copy(update={"name": "7-segments"})) == "model_7_segments"


@pytest.mark.parametrize("engine", ["torch-safetensors", "onnx"])
def test_an_edge_export_answers_from_its_compact_file_alone(made: Any, tmp_path: Path, engine: str) -> None:
    """Whichever engine the bundle was sealed for, the .ort file gives the sealed answers."""
    from sextant_components.modelling.bundle_export import FILES, write_weights
    from sextant_components.modelling.model_file import load_members, read_model

    inputs, expected = golden_of(made.bundle, made.spec)
    folder = tmp_path / "bundle"
    shutil.copytree(made.bundle, folder)
    (folder / made.spec.members[0].file).unlink()
    (folder / BUNDLE_FILE).unlink()
    write_weights(engine, load_members(made.model, read_model(made.model))[:1], folder, inputs)
    member = made.spec.members[0].model_copy(update={"file": FILES[engine]})
    spec = seal_bundle(folder, made.spec.model_copy(update={"engine": engine, "members": [member]}))
    parity = export_edge(folder, spec, tmp_path / "out")
    assert parity.verdict is Verdict.PASS
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.ort", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, inputs)
    np.testing.assert_allclose(found, expected, atol=spec.golden_tolerance)


def test_an_export_that_answers_otherwise_is_refused_and_leaves_its_proof(
    made: Any, bundle: Path, tmp_path: Path
) -> None:
    """Golden answers that the network does not give fail the export, and parity.json says so."""
    with np.load(bundle / "golden.npz", allow_pickle=False) as golden:
        arrays = {name: golden[name] for name in golden.files}
    np.savez(bundle / "golden.npz", **{**arrays, "probabilities": arrays["probabilities"][:, ::-1]})
    (bundle / BUNDLE_FILE).unlink()
    spec = seal_bundle(bundle, made.spec)
    with pytest.raises(ExportDiffers, match="Do not hand it out") as caught:
        export_edge(bundle, spec, tmp_path / "out")
    assert caught.value.exit_code == 1
    assert json.loads((tmp_path / "out" / "parity.json").read_text())["verdict"] == "fail"


def test_trees_have_no_onnx_form(made: Any, bundle: Path, tmp_path: Path) -> None:
    """The refusal says which target is left."""
    spec = read_bundle(bundle).model_copy(update={"engine": "lightgbm"})
    with pytest.raises(NoNetwork, match="Export it as a package"):
        export_edge(bundle, spec, tmp_path / "out")


def test_a_browser_export_asks_for_its_runtime_and_takes_no_other(made: Any, tmp_path: Path) -> None:
    """Without the tarball, or with another, nothing is written."""
    other = tmp_path / "onnxruntime-web-1.30.0.tgz"
    other.write_bytes(b"something else")
    for runtime, words in ((None, "npm pack"), (other, "has the SHA-512"), (tmp_path / "none.tgz", "cannot be read")):
        with pytest.raises(RuntimeMissing, match=words):
            export_browser(made.bundle, made.spec, tmp_path / "out", runtime=runtime)
    assert not (tmp_path / "out").exists()


def test_the_command_exports_what_is_named_or_in_service(made: Any, tmp_path: Path) -> None:
    """JSON names folder and proof; a folder that holds something is left alone."""
    out = tmp_path / "out"
    done = CliRunner().invoke(command, [str(made.bundle), "--to", "edge", "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["verdict"] == "pass"
    again = CliRunner().invoke(command, [str(made.bundle), "--to", "edge", "--out", str(out)])
    assert "not empty" in str(again.exception)
    nothing = CliRunner().invoke(command, ["--to", "edge", "--out", str(tmp_path / "x"), "--home", str(tmp_path / "h")])
    assert "no model is in service" in str(nothing.exception)


def test_a_row_without_a_picture_is_refused_by_name(made: Any) -> None:
    """The package's caller learns which key is missing."""
    with pytest.raises(BadPicture, match="no bytes under `image`"):
        LocalModel(made.bundle).predict([{"picture": b""}])
