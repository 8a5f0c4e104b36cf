"""`sextant label`: from a verified run to tasks, and from an export to the plan's corrections."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from sextant_components.data.ingest import run_ingest
from sextant_components.data.verify import run_verify
from sextant_components.runs.context import RunContext, create_run

Sextant = Callable[..., Any]
PLAN = {
    "name": "sizes",
    "owner": {"team": "tests", "approvers": ["one"]},
    "goal": {"business": "sort sizes", "why_ml": "no rule is known"},
    "criteria": [{"id": "accuracy", "metric": "accuracy", "at_least": 0.5, "min_n": 10}],
    "data": {
        "source": ".",
        "table": "table.csv",
        "label": "kind",
        "entity": "item",
        "corrections": "corrections.jsonl",
        "columns": {"weight": {"type": "number"}},
        "licence": {"name": "CC0-1.0", "source": "generated", "allows_training": True},
        "consent": {"basis": "generated"},
    },
    "model": {
        "task": "tabular-classification",
        "inputs": {"columns": ["weight"]},
        "candidates": [{"architecture": "linear"}],
    },
}


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    """A verified run over forty items, light and heavy, of which a light one is called heavy."""
    kinds = ["light"] * 20 + ["heavy"] * 20
    kinds[3] = "heavy"
    weights = [1.0 + row / 100 for row in range(20)] + [9.0 + row / 100 for row in range(20)]
    table = pl.DataFrame({"item": [f"I-{row:02d}" for row in range(40)], "weight": weights, "kind": kinds})
    table.write_csv(tmp_path / "table.csv")
    (tmp_path / "corrections.jsonl").touch()
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN), encoding="utf-8")
    context = create_run(tmp_path / "run", run_id="r", plan_path=tmp_path / "plan.yaml", home=tmp_path / "home")
    run_ingest(context, snapshot=tmp_path / "s")
    run_verify(context, snapshot=tmp_path / "s", verified=tmp_path / "v")
    return context


def test_tasks_go_out_and_decisions_come_back(run: RunContext, tmp_path: Path, sextant: Sextant) -> None:
    """The wrong label is asked first, and the answer ends up in the plan's file."""
    tasks, export = tmp_path / "tasks.json", tmp_path / "export.json"
    out = sextant("label", "queue", str(run.run), "--out", str(tasks), "--limit", "1", "--json")
    assert out.code == 0
    assert json.loads(out.out)["written"] == 1
    (task,) = json.loads(tasks.read_text())
    assert task["data"]["sextant"] == {"entity": "I-03"}
    chosen = {"from_name": "label", "to_name": "item", "type": "choices", "value": {"choices": ["light"]}}
    people = tmp_path / "people.json"
    people.write_text('[{"id": 1, "email": "ada@example.org"}]')
    annotation = {
        "completed_by": 1,
        "created_at": "2026-11-23T10:00:00Z",
        "result": [chosen],
    }
    export.write_text(json.dumps([{**task, "annotations": [annotation]}]))
    plan = str(tmp_path / "plan.yaml")
    assert sextant("label", "import", str(export), "--plan", plan, "--people", str(people)).code == 0
    (line,) = (tmp_path / "corrections.jsonl").read_text().splitlines()
    assert json.loads(line)["action"] == "relabel"
    assert json.loads(line)["author"] == "ada@example.org"


def test_an_import_without_a_file_to_append_to_says_what_to_write(tmp_path: Path, sextant: Sextant) -> None:
    """A usage error that names the key."""
    plan = {**PLAN, "data": {key: value for key, value in PLAN["data"].items() if key != "corrections"}}  # type: ignore[attr-defined]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan), encoding="utf-8")
    (tmp_path / "export.json").write_text("[]")
    result = sextant("label", "import", str(tmp_path / "export.json"), "--plan", str(tmp_path / "plan.yaml"))
    assert result.code == 2
    assert "data.corrections: corrections.jsonl" in result.err
