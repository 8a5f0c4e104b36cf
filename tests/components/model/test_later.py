"""Evidence that comes after a run, such as an export by hand: recorded, shown, verified, and changing nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.components.model.conftest import Made

from sextant_components.context import RunContext, open_run
from sextant_components.dossier.page import run_dossier
from sextant_components.exports.onnx_files import answer_by_onnx
from sextant_components.exports.parity import ExportDiffers
from sextant_components.verification import verify_run
from sextant_pipelines.commands.export import command
from sextant_plan.ledger import LATER, ArtifactStore, Record, read_run
from sextant_plan.verdicts import Verdict


@pytest.fixture
def run(made: Made, tmp_path: Path) -> RunContext:
    """The run that sealed the bundle, in a home of its own, with its dossier; a newer run has sealed nothing."""
    folder = tmp_path / "home" / "runs" / "sealed"
    shutil.copytree(made.context.run, folder)
    (tmp_path / "home" / "runs" / "newer").mkdir()
    (tmp_path / "home" / "runs" / "newer" / "run.json").write_text("{}")
    context = open_run(str(folder))
    run_dossier(context)
    return context


def _export(run: RunContext, made: Made, out: Path) -> Any:
    arguments = [str(made.bundle), "--to", "edge", "--out", str(out), "--home", str(run.run.parent.parent), "--json"]
    return CliRunner().invoke(command, arguments, standalone_mode=False)


def _later(run: RunContext) -> dict[str, list[Record]]:
    return read_run(run.run / LATER)


def test_an_export_by_hand_is_recorded_in_the_run_that_sealed_the_bundle(
    run: RunContext, made: Made, tmp_path: Path
) -> None:
    """With its proof and each file's digest; the dossier shows it, and what the run itself recorded stays as it was."""
    before = {path: path.read_bytes() for path in (run.run / "ledger").iterdir()}
    done = _export(run, made, tmp_path / "out")
    assert json.loads(done.stdout)["run"] == str(run.run)
    record, _ = _later(run)["export_edge"]
    assert (record.task, record.verdict, record.phase) == ("export: edge", Verdict.PASS, "deployment")
    store = ArtifactStore(run.run / LATER)
    proof = json.loads(store.read_bytes(record.artifacts["export-edge-parity.json"]))
    assert proof["bundle_digest"] == made.spec.digest
    named = {each["file"] for each in json.loads(store.read_bytes(record.artifacts["export-edge.json"]))}
    assert {"model.onnx", "model.ort"} <= named
    assert before == {path: path.read_bytes() for path in (run.run / "ledger").iterdir()}
    page = (run.run / "dossier.html").read_text(encoding="utf-8")
    assert "After the run: 1 check." in page
    assert record.id[:19] in page


def test_an_export_that_differs_is_recorded_as_a_fail(
    run: RunContext, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command refuses it, and the run knows of it."""
    patched = "sextant_components.exports.edge.answer_by_onnx"
    monkeypatch.setattr(patched, lambda *arguments: answer_by_onnx(*arguments) + 0.5)
    assert isinstance(_export(run, made, tmp_path / "out").exception, ExportDiffers)
    record, _ = _later(run)["export_edge"]
    assert record.verdict is Verdict.FAIL
    assert "off by 0.5" in record.value


def test_a_bundle_of_no_run_here_keeps_its_proof_in_the_folder(made: Made, tmp_path: Path) -> None:
    """The command says so instead of failing."""
    arguments = [str(made.bundle), "--to", "edge", "--out", str(tmp_path / "out"), "--home", str(tmp_path / "home")]
    done = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert done.exception is None
    assert "no run below" in done.stderr
    assert (tmp_path / "out" / "parity.json").exists()


def test_later_evidence_is_verified_with_the_runs(run: RunContext, made: Made, tmp_path: Path) -> None:
    """A record that was rewritten after the fact is named by its file and line."""
    _export(run, made, tmp_path / "out")
    assert not [flaw for flaw in verify_run(run).faults if flaw.file.startswith(LATER)]
    (path,) = (run.run / LATER / "ledger").iterdir()
    path.write_text(path.read_text(encoding="utf-8").replace("off by", "off bY", 1), encoding="utf-8")
    (flaw,) = [flaw for flaw in verify_run(run).faults if flaw.file.startswith(LATER)]
    assert str(flaw).startswith("later/ledger/export_edge-1.jsonl:1:")
