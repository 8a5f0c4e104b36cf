"""What a user is told about a plan, and what its hash binds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sextant_plan.errors import ExitCode, PlanError
from sextant_plan.loading import check_plan, load_plan, plan_hash
from sextant_plan.schema import Plan

PLAN: dict[str, Any] = {
    "name": "sorting",
    "owner": {"team": "yard", "approvers": ["ada"]},
    "goal": {"business": "sort parcels", "why_ml": "rules miss one in five"},
    "criteria": [
        {"id": "accuracy", "metric": "accuracy", "at_least": 0.9},
        {"id": "p99", "metric": "latency_p99_ms", "at_most": 50, "enforce": ["gate", "alert"]},
    ],
    "data": {
        "source": "data",
        "table": "table.csv",
        "images": "images",
        "entity": "parcel_id",
        "timestamp": "event_time",
        "columns": {"price": {"type": "number"}, "note": {"type": "text"}},
        "licence": {"name": "own", "source": "our yard", "allows_training": True},
        "consent": {"basis": "no persons"},
    },
    "features": {"views": [{"name": "measures", "source": "m.parquet", "timestamp": "at", "columns": ["weight"]}]},
    "model": {
        "task": "image-tabular-classification",
        "inputs": {
            "image": {"height": 16, "width": 16, "channels": 1},
            "columns": ["price"],
            "features": ["measures:weight"],
        },
        "candidates": [{"architecture": "fusion"}],
    },
    "evaluation": {"slices": ["supplier"]},
}
Edit = Callable[[dict[str, Any]], object]


def write(folder: Path, edit: Edit | None = None) -> Path:
    plan = copy.deepcopy(PLAN)
    if edit:
        edit(plan)
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False), encoding="utf-8")
    return path


def criterion(**change: Any) -> Edit:
    return lambda plan: plan["criteria"][0].update(change)


def without(section: str, key: str) -> Edit:
    return lambda plan: plan[section].pop(key)


def put(*path: str, value: Any) -> Edit:
    def edit(plan: dict[str, Any]) -> None:
        for key in path[:-1]:
            plan = plan[key]
        plan[path[-1]] = value

    return edit


ARCHITECTURES = {"fusion": ("image", "features"), "gradient-boosting": ("features",)}


def test_a_sound_plan_has_no_findings(tmp_path: Path) -> None:
    """The plan that every case below breaks is itself in order."""
    assert check_plan(write(tmp_path), architectures=ARCHITECTURES) == []


CASES: dict[str, tuple[Edit, str, str, str]] = {
    "missing key": (without("owner", "team"), "owner.team", "missing", "Add `team:`"),
    "unknown key": (put("goal", "buisness", value="x"), "goal.buisness", "unknown", "Did you mean `business`?"),
    "placeholder": (
        put("goal", "why_ml", value="TODO: say why"),
        "goal.why_ml",
        "TODO stands where a statement belongs",
        "Write what holds",
    ),
    "unknown metric": (criterion(metric="acuracy"), "criteria[0].metric", "nothing computes", "Did you mean accuracy?"),
    "wrong direction": (
        lambda plan: plan["criteria"][1].update(at_least=plan["criteria"][1].pop("at_most")),
        "criteria[1].at_least",
        "lower is better",
        "at_most",
    ),
    "two limits": (criterion(at_most=0.95), "criteria[0]", "exactly one", "at_least"),
    "no limit": (lambda plan: plan["criteria"][0].pop("at_least"), "criteria[0]", "exactly one", "at_least"),
    "id twice": (criterion(id="p99"), "criteria[1].id", "twice", "id of its own"),
    "enforcement not allowed": (
        lambda plan: plan["criteria"][1].update(enforce=["retrain"]),
        "criteria[1].enforce[0]",
        "cannot be enforced by retrain",
        "Allowed: alert, canary, gate",
    ),
    "canary without a canary rollout": (
        criterion(enforce=["canary"]),
        "criteria[0].enforce[0]",
        "no canary judges it",
        "strategy: canary",
    ),
    "alert on a difference": (
        criterion(relative_to="baseline", enforce=["gate", "retrain"]),
        "criteria[0].enforce[1]",
        "answers for the baseline",
        "gate only",
    ),
    "misspelt enforcement": (criterion(enforce=["gaet"]), "criteria[0].enforce[0]", "not known", "Did you mean gate?"),
    "misspelt input": (
        put("model", "inputs", "columns", value=["prcie"]),
        "model.inputs.columns[0]",
        "has no rule",
        "Did you mean price?",
    ),
    "misspelt signer": (
        lambda plan: plan.update(sign_off={"required": ["adda"]}),
        "sign_off.required[0]",
        "not among owner.approvers",
        "Did you mean ada?",
    ),
    "failure mode without its alert": (
        lambda plan: plan.update(failure=[{"mode": "slow", "fallback": "503", "recover_within": "60s", "alert": "p9"}]),
        "failure[0].alert",
        "no alert is called p9",
        "Did you mean p99?",
    ),
    "slice not declared": (criterion(slice="night=yes"), "criteria[0].slice", "not a slice", "evaluation.slices"),
    "slice form": (criterion(slice="supplier"), "criteria[0].slice", "another form", "COLUMN=VALUE"),
    "no relative form": (
        lambda plan: plan["criteria"][1].update(relative_to="champion"),
        "criteria[1].relative_to",
        "no relative form",
        "Remove relative_to",
    ),
    "metric without its input": (
        criterion(metric="net_value"),
        "criteria[0].metric",
        "cannot be computed",
        "goal.economics",
    ),
    "feature of no view": (
        put("model", "inputs", "features", value=["measures:wieght"]),
        "model.inputs.features[0]",
        "not a feature of any view",
        "measures:weight",
    ),
    "features without entity": (without("data", "entity"), "features", "joined by entity", "data.entity"),
    "column without rule": (
        put("model", "inputs", "columns", value=["colour"]),
        "model.inputs.columns[0]",
        "has no rule",
        "data.columns",
    ),
    "text as input": (
        put("model", "inputs", "columns", value=["note"]),
        "model.inputs.columns[0]",
        "type text",
        "number, category or boolean",
    ),
    "label as input": (
        put("model", "inputs", "columns", value=["label"]),
        "model.inputs.columns[0]",
        "the label",
        "known when predicting",
    ),
    "picture for a table task": (
        put("model", "task", value="tabular-classification"),
        "model.task",
        "reads no picture",
        "image-tabular-classification",
    ),
    "no folder of pictures": (without("data", "images"), "model.inputs.image", "no pictures", "data.images"),
    "unknown architecture": (
        put("model", "candidates", value=[{"architecture": "fusoin"}]),
        "model.candidates[0].architecture",
        "no architecture fusoin",
        "Did you mean fusion?",
    ),
    "trees for pictures": (
        lambda plan: plan["model"].update(
            task="image-classification",
            inputs={"image": {"height": 8, "width": 8}},
            candidates=[{"architecture": "gradient-boosting"}],
        ),
        "model.candidates[0].architecture",
        "gradient-boosting reads columns or features, which model.inputs lacks",
        "model.inputs",
    ),
    "colours where there are none": (
        put("evaluation", value={"slices": ["supplier"], "corruptions": ["noise", "saturate"]}),
        "evaluation.corruptions[1]",
        "one channel",
        "Remove saturate",
    ),
    "splits too large": (
        put("evaluation", value={"sealed_split": 0.6, "valid_split": 0.35}),
        "evaluation.valid_split",
        "less than a tenth",
        "less than 0.9",
    ),
    "no wider candidates": (
        put("monitoring", value={"retrain": {"change_architecture_after": 1}}),
        "monitoring.retrain.change_architecture_after",
        "there is nothing to change to",
        "model.wider_candidates",
    ),
    "bad duration": (put("rollout", value={"deadline": "soon"}), "rollout.deadline", "write a duration", "reference"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_fault_is_named_with_its_line_and_remedy(case: tuple[Edit, str, str, str], tmp_path: Path) -> None:
    """The finding stands on the right line, at the right field, and says what to do."""
    edit, field, problem, remedy = case
    path = write(tmp_path, edit)
    findings = [finding for finding in check_plan(path, architectures=ARCHITECTURES) if finding.field == field]
    assert findings, [finding.render("plan.yaml") for finding in check_plan(path, architectures=ARCHITECTURES)]
    assert any(problem in finding.problem and remedy in finding.remedy for finding in findings)
    key = field.rsplit(".", 1)[-1].partition("[")[0]
    if "missing" not in problem and "exactly one" not in problem:
        assert f"{key}:" in path.read_text().splitlines()[findings[0].line - 1] or "[" in field


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    """A malformed key does not hide a contradiction elsewhere."""

    def edit(plan: dict[str, Any]) -> None:
        plan["goal"]["extra"] = 1
        plan["criteria"][1]["enforce"] = ["gate", "sometimes"]
        plan["criteria"][0]["metric"] = "acuracy"

    fields = {finding.field for finding in check_plan(write(tmp_path, edit))}
    assert fields == {"goal.extra", "criteria[1].enforce[1]", "criteria[0].metric"}


def test_a_key_written_twice_is_an_error(tmp_path: Path) -> None:
    """YAML would silently keep the last of two keys."""
    path = write(tmp_path)
    path.write_text(path.read_text() + "name: other\n")
    (finding,) = check_plan(path)
    assert (finding.field, finding.problem) == ("name", "this key stands twice")
    assert path.read_text().splitlines()[finding.line - 1] == "name: other"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"name: [", "expected"),
        (b"\xff\xfe", "not UTF-8"),
        (b"", "missing"),
        (b"- a\n- b\n", "no mapping"),
        (b"a: &x [*x]\n", "contains itself"),
        (b"when: 2024-02-31\n", "not YAML"),
    ],
    ids=["unclosed", "not utf-8", "empty", "a list", "recursive", "impossible date"],
)
def test_a_file_that_is_no_plan_is_explained(content: bytes, problem: str, tmp_path: Path) -> None:
    """A broken file gives a finding, never a traceback, and the exit code of a plan error."""
    path = tmp_path / "plan.yaml"
    path.write_bytes(content)
    with pytest.raises(PlanError, match=problem) as caught:
        load_plan(path)
    assert caught.value.exit_code is ExitCode.USAGE


def test_an_absent_file_names_the_way_to_a_plan(tmp_path: Path) -> None:
    """The remedy for no file is the command that writes one."""
    with pytest.raises(PlanError, match="sextant init"):
        load_plan(tmp_path / "plan.yaml")


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fall_over(content: bytes) -> None:
    """Whatever the file holds, the answer is a list of findings."""
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(content)
        file.flush()
        assert check_plan(Path(file.name))


def test_order_comments_and_spelled_out_defaults_leave_the_hash_alone(tmp_path: Path) -> None:
    """The hash is of what the plan means."""
    reference = plan_hash(load_plan(write(tmp_path)))
    path = tmp_path / "other.yaml"
    reordered = dict(reversed(PLAN.items())) | {"rollout": {"deadline": "240m", "strategy": "immediate"}}
    path.write_text("# a comment\n" + yaml.safe_dump(reordered, sort_keys=True), encoding="utf-8")
    assert plan_hash(load_plan(path)) == reference


def test_a_changed_threshold_changes_the_hash(tmp_path: Path) -> None:
    """Evidence gathered for one limit cannot be used for another."""
    reference = plan_hash(load_plan(write(tmp_path)))
    assert plan_hash(load_plan(write(tmp_path, criterion(at_least=0.91)))) != reference


def test_a_loaded_plan_cannot_be_changed(tmp_path: Path) -> None:
    """The plan is frozen in memory too."""
    plan = load_plan(write(tmp_path))
    with pytest.raises(ValueError, match="frozen"):
        plan.name = "other"  # type: ignore[misc]
    assert isinstance(plan, Plan)
