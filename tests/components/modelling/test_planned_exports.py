"""Exports that the plan asks for: in the ledger with digests and proof, and a difference is a fail."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.components.trained import Made

from sextant_components.modelling.exports.onnx_files import answer_by_onnx
from sextant_components.modelling.planned_exports import record_exports
from sextant_components.runs.context import RunContext, Step
from sextant_plan.canonical import digest_of_bytes
from sextant_plan.ledger import Record, read_run
from sextant_plan.schema import ExportName
from sextant_plan.verdicts import Verdict

OpenRun = Callable[..., RunContext]


@pytest.fixture
def context(home: Path, open_run_at: OpenRun, tmp_path: Path) -> RunContext:
    """A run without records."""
    return open_run_at(tmp_path / "exports", home=home)


def _recorded(context: RunContext, made: Made, target: ExportName = "edge") -> Record:
    with context.ledger(Step.OPTIMISE) as ledger:
        record_exports(ledger, [target], made.bundle, made.spec)
    record, end = read_run(context.run)[Step.OPTIMISE]
    assert end.verdict is record.verdict
    return record


def test_an_export_is_recorded_with_its_files_and_their_digests(context: RunContext, made: Made) -> None:
    """The archive among the artifacts holds the very files that the table names, and the proof names the bundle."""
    record = _recorded(context, made)
    assert (record.task, record.verdict) == ("export: edge", Verdict.PASS)
    contents = {name: context.artifacts.read_bytes(digest) for name, digest in record.artifacts.items()}
    assert json.loads(contents["export-edge-parity.json"])["bundle_digest"] == made.spec.digest
    named = {line["file"]: line["sha256"] for line in json.loads(contents["export-edge.json"])}
    with zipfile.ZipFile(io.BytesIO(contents["export-edge.zip"])) as archive:
        found = {name: digest_of_bytes(archive.read(name)) for name in archive.namelist() if name != "parity.json"}
    assert named == found
    assert {"model.ort", "model.onnx"} <= set(found)


@pytest.mark.slow
def test_a_wheel_is_recorded_with_the_proof_of_what_was_installed(context: RunContext, made: Made) -> None:
    """The wheel in the archive is the one that the table names, and its answers came from where it was installed."""
    record = _recorded(context, made, "package")
    assert (record.task, record.verdict) == ("export: package", Verdict.PASS)
    contents = {name: context.artifacts.read_bytes(digest) for name, digest in record.artifacts.items()}
    proof = json.loads(contents["export-package-parity.json"])
    assert (proof["method"], proof["verdict"]) == ("the wheel, installed and imported", "pass")
    (line,) = json.loads(contents["export-package.json"])
    assert line["file"].endswith("-py3-none-any.whl")
    with zipfile.ZipFile(io.BytesIO(contents["export-package.zip"])) as archive:
        assert digest_of_bytes(archive.read(line["file"])) == line["sha256"]


def test_an_export_that_answers_otherwise_fails_and_is_not_kept(
    context: RunContext, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof stays as evidence, the files do not."""
    patched = "sextant_components.modelling.exports.edge.answer_by_onnx"
    monkeypatch.setattr(patched, lambda *arguments: answer_by_onnx(*arguments) + 0.5)
    record = _recorded(context, made)
    assert record.verdict is Verdict.FAIL
    assert "off by 0.5" in record.value
    assert set(record.artifacts) == {"export-edge.json", "export-edge-parity.json"}
