"""Evidence that comes after a run, such as an export by hand: recorded, shown, verified, and changing nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.components.trained import Made

from sextant_components.closing.later import record_by_hand
from sextant_components.closing.verification import verify_run
from sextant_components.modelling.exports.onnx_files import answer_by_onnx
from sextant_components.modelling.exports.parity import ExportDiffers, golden_of, write_parity
from sextant_components.runs.context import RunContext
from sextant_pipelines.commands.export import command
from sextant_plan.canonical import digest_of_file
from sextant_plan.ledger import LATER, ArtifactStore, Record, read_run
from sextant_plan.verdicts import Verdict


def _export(run: RunContext, made: Made, out: Path, target: str = "edge") -> Any:
    home = str(run.run.parent.parent)
    arguments = [str(made.bundle), "--to", target, "--out", str(out), "--home", home, "--json"]
    return CliRunner().invoke(command, arguments, standalone_mode=False)


def _later(run: RunContext) -> dict[str, list[Record]]:
    return read_run(run.run / LATER)


def test_an_export_by_hand_is_recorded_in_the_run_that_sealed_the_bundle(
    sealing_run: RunContext, made: Made, tmp_path: Path
) -> None:
    """With its proof and each file's digest; the dossier shows it, and what the run itself recorded stays as it was."""
    before = {path: path.read_bytes() for path in (sealing_run.run / "ledger").iterdir()}
    done = _export(sealing_run, made, tmp_path / "out")
    assert json.loads(done.stdout)["run"] == str(sealing_run.run)
    record, _ = _later(sealing_run)["export_edge"]
    assert (record.task, record.verdict, record.phase) == ("export: edge", Verdict.PASS, "deployment")
    store = ArtifactStore(sealing_run.run / LATER)
    proof = json.loads(store.read_bytes(record.artifacts["export-edge-parity.json"]))
    assert proof["bundle_digest"] == made.spec.digest
    named = {each["file"] for each in json.loads(store.read_bytes(record.artifacts["export-edge.json"]))}
    assert {"model.onnx", "model.ort"} <= named
    assert before == {path: path.read_bytes() for path in (sealing_run.run / "ledger").iterdir()}
    page = (sealing_run.run / "dossier.html").read_text(encoding="utf-8")
    assert "After the run: 1 check." in page
    assert record.id[:19] in page


@pytest.mark.parametrize("target", ["browser", "package"])
def test_a_page_and_a_wheel_leave_a_record_of_their_own(
    sealing_run: RunContext, made: Made, tmp_path: Path, target: str
) -> None:
    """Whatever form was proved, the run that sealed the bundle has the proof and the digest of the file handed out."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "form").write_bytes(b"what was exported")
    _, sealed = golden_of(made.bundle, made.spec)
    write_parity(out, made.spec, sealed, sealed, target=target, method="by hand")
    assert record_by_hand(sealing_run.run.parent.parent, out) == sealing_run.run
    record, _ = _later(sealing_run)[f"export_{target}"]
    assert (record.task, record.verdict, record.phase) == (f"export: {target}", Verdict.PASS, "deployment")
    files = ArtifactStore(sealing_run.run / LATER).read_bytes(record.artifacts[f"export-{target}.json"])
    assert json.loads(files) == [{"file": "form", "sha256": digest_of_file(out / "form")}]


@pytest.mark.slow
def test_a_wheel_made_by_the_command_is_recorded(sealing_run: RunContext, made: Made, tmp_path: Path) -> None:
    """The record names the wheel that lies in the folder, by its digest."""
    assert _export(sealing_run, made, tmp_path / "out", "package").exception is None
    record, _ = _later(sealing_run)["export_package"]
    assert record.verdict is Verdict.PASS
    (wheel,) = (tmp_path / "out").glob("*.whl")
    files = ArtifactStore(sealing_run.run / LATER).read_bytes(record.artifacts["export-package.json"])
    assert json.loads(files) == [{"file": wheel.name, "sha256": digest_of_file(wheel)}]


def test_an_export_that_differs_is_recorded_as_a_fail(
    sealing_run: RunContext, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command refuses it, and the run knows of it."""
    patched = "sextant_components.modelling.exports.edge.answer_by_onnx"
    monkeypatch.setattr(patched, lambda *arguments: answer_by_onnx(*arguments) + 0.5)
    assert isinstance(_export(sealing_run, made, tmp_path / "out").exception, ExportDiffers)
    record, _ = _later(sealing_run)["export_edge"]
    assert record.verdict is Verdict.FAIL
    assert "off by 0.5" in record.value


def test_a_bundle_of_no_run_here_keeps_its_proof_in_the_folder(made: Made, tmp_path: Path) -> None:
    """The command says so instead of failing."""
    arguments = [str(made.bundle), "--to", "edge", "--out", str(tmp_path / "out"), "--home", str(tmp_path / "home")]
    done = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert done.exception is None
    assert "no run below" in done.stderr
    assert (tmp_path / "out" / "parity.json").exists()


def test_later_evidence_is_verified_with_the_runs(sealing_run: RunContext, made: Made, tmp_path: Path) -> None:
    """A record that was rewritten after the fact is named by its file and line."""
    _export(sealing_run, made, tmp_path / "out")
    assert not [flaw for flaw in verify_run(sealing_run).faults if flaw.file.startswith(LATER)]
    (path,) = (sealing_run.run / LATER / "ledger").iterdir()
    path.write_text(path.read_text(encoding="utf-8").replace("off by", "off bY", 1), encoding="utf-8")
    (flaw,) = [flaw for flaw in verify_run(sealing_run).faults if flaw.file.startswith(LATER)]
    assert str(flaw).startswith("later/ledger/export_edge-1.jsonl:1:")
