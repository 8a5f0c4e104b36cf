"""The commands around a plan's life: how its criteria are held, its schema, amendments, overrides, signatures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sextant_components.runs.context import RunContext, Step, create_run
from sextant_components.runs.subject import DECISION_TASK
from sextant_plan.loading import load_plan, plan_hash
from sextant_plan.verdicts import Verdict

Sextant = Callable[..., Any]
EXAMPLES = Path(__file__).parents[2] / "examples"


def test_every_criterion_shows_its_four_enforcements(sextant: Sextant) -> None:
    """Each has a line, asked for or not; the rule's PromQL has the plan's limit."""
    result = sextant("render", "criteria", EXAMPLES / "digits" / "plan.yaml")
    assert result.code == 0
    paragraphs = {part.partition(":")[0]: part.splitlines() for part in result.out.split("\n\n")}
    accuracy, drift = paragraphs["accuracy"], paragraphs["input-drift"]
    assert [line[:11].strip() for line in accuracy[1:5]] == ["gate", "canary", "alert", "retrain"]
    assert "lower bound (clopper-pearson) at confidence 0.95 against 0.95, from 300 rows on" in accuracy[1]
    assert accuracy[2].endswith("not asked")
    assert "3 of the last 5 windows" in accuracy[4]
    assert any("/ 0.95)" in line for line in accuracy)
    assert drift[1].endswith("not asked")
    assert "SextantInputDrift (warning, for 5m)" in drift[3]


def test_the_enforcements_as_json_follow_the_plan(sextant: Sextant, tmp_path: Path) -> None:
    """The machine-readable form has one object a criterion and null for what is not asked."""
    text = (EXAMPLES / "digits" / "plan.yaml").read_text(encoding="utf-8")
    found = []
    for limit in ("0.95", "0.94"):
        path = tmp_path / f"{limit}.yaml"
        path.write_text(text.replace("metric: accuracy, at_least: 0.95", f"metric: accuracy, at_least: {limit}"))
        found.append({each["id"]: each for each in json.loads(sextant("render", "criteria", path, "--json").out)})
    before, after = (each["accuracy"] for each in found)
    assert (before["gate"]["limit"], after["gate"]["limit"]) == (0.95, 0.94)
    assert before["retrain"]["recordings"] != after["retrain"]["recordings"]
    assert before["canary"] is before["alert"] is None
    assert found[0]["coverage"] == found[1]["coverage"]


@pytest.mark.parametrize("name", ["digits", "parcels", "tiny"])
def test_the_schema_takes_the_examples_and_refuses_a_slip(name: str, sextant: Sextant) -> None:
    """What `check` accepts an editor accepts too; an unknown key and an unknown metric are underlined."""
    schema = json.loads(sextant("render", "schema").out)
    plan = yaml.safe_load((EXAMPLES / name / "plan.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(plan, schema)
    for slip in ({"nmae": "x"}, {"criteria": [{**plan["criteria"][0], "metric": "acuracy"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**plan, **slip}, schema)


def test_what_a_cluster_does_without_is_warned_of_with_its_values(sextant: Sextant, tmp_path: Path) -> None:
    """No version before in a pod, no receivers of the plan, runbooks that open nowhere; else nothing is said."""
    plan, silent = tmp_path / "plan.yaml", tmp_path / "silent.yaml"
    text = yaml.safe_load((EXAMPLES / "digits" / "plan.yaml").read_text(encoding="utf-8"))
    text["serving"]["fallback"] = {"engine_failure": ["previous-version", "baseline"]}
    text["monitoring"]["notify"] = {"chat": {"url_file": "/secrets/chat", "channel": "#belt"}}
    plan.write_text(yaml.dump(text), encoding="utf-8")
    result = sextant("render", "values", plan)
    assert result.code == 0
    assert [line.split(": ")[1] for line in result.err.splitlines()] == [
        "serving.fallback.engine_failure",
        "monitoring.notify",
        "monitoring.notify.runbooks",
    ]
    text["serving"]["fallback"] = {"engine_failure": ["baseline"]}
    text["monitoring"]["notify"] = {"runbooks": "https://pages.example.org/runbooks"}
    silent.write_text(yaml.dump(text), encoding="utf-8")
    assert sextant("render", "values", silent).err == ""


def test_a_test_set_that_cannot_decide_is_warned_of_with_its_rows(sextant: Sextant, plan_file: Path) -> None:
    """Forty pictures seal about twelve; the warning names the criterion, planned and needed rows."""
    text = plan_file.read_text()
    limit = yaml.safe_load(text)["criteria"][0]["at_least"]
    plan_file.write_text(text.replace(f"at_least: {limit}, min_n", "at_least: 0.95, min_n", 1))
    result = sextant("check", plan_file)
    assert result.code == 0
    assert "criteria accuracy: the sealed split will have about 12 rows" in result.err
    assert "even without one error 59 are needed to prove 0.95" in result.err
    assert "if the true share is 0.975" in result.err


def test_more_rows_asked_for_than_there_are_is_warned_of(sextant: Sextant, plan_file: Path) -> None:
    """A min_n over the sealed rows leaves the gate unknown for ever."""
    plan = yaml.safe_load(plan_file.read_text())
    plan["criteria"][1]["min_n"] = 500
    plan_file.write_text(yaml.safe_dump(plan))
    assert "criteria beats-baseline: the sealed split will have about 12 rows; min_n is 500" in (
        sextant("check", plan_file).err
    )


@pytest.fixture
def decided(plan_file: Path, tmp_path: Path) -> RunContext:
    """A run below `tmp_path/home` with an evaluation and a passed decision on a bundle."""
    home = tmp_path / "home"
    context = create_run(home / "runs" / "r1", run_id="r1", plan_path=plan_file, home=home)
    with context.ledger(Step.EVALUATE):
        pass
    with context.ledger(Step.DECIDE) as ledger:
        ledger.record(
            DECISION_TASK,
            requirement="one bundle",
            risk="another",
            qa_method="its digest",
            value={"digest": f"sha256:{'b' * 64}", "version": "v"},
            verdict=Verdict.PASS,
        )
    return context


def test_a_signature_is_shown_until_evidence_changes(sextant: Sextant, decided: RunContext) -> None:
    """Signing names the person; one more record in the ledger voids it and says which file."""
    assert sextant("sign", decided.run).out == "no signature, and the plan requires none\n"
    signed = sextant("sign", decided.run, "--as", "your-name")
    assert signed.code == 0
    assert signed.out.startswith("signed   your-name: pass, bundle sha256:bbbbbbb")
    with decided.ledger(Step.EVALUATE):
        pass
    assert sextant("sign", decided.run).out == "void     your-name: changed since: ledger/evaluate-2.jsonl\n"
    assert json.loads(sextant("sign", decided.run, "--json").out)["void"] == {"your-name": ["ledger/evaluate-2.jsonl"]}


def test_only_a_person_of_the_plan_signs(sextant: Sextant, decided: RunContext) -> None:
    """A misspelt name is told the one that is meant."""
    result = sextant("sign", decided.run, "--as", "yuor-name")
    assert result.code == 2
    assert "Did you mean your-name?" in result.err
    assert not (decided.run / "signatures").exists()


def test_a_run_without_a_version_is_not_promoted(sextant: Sextant, decided: RunContext) -> None:
    """There is nothing to put in service; nothing is written."""
    result = sextant("promote", decided.run)
    assert result.code == 2
    assert "registered no version" in result.err
    assert not (decided.run / "conclusion.json").exists()


def _amend(sextant: Sextant, plan: Path, home: Path, **options: str) -> Any:
    given = {"author": "Ada", "reason": "a new scale", **options}
    return sextant("amend", plan, "--home", home, *[f"--{name}={value}" for name, value in given.items()])


def test_a_changed_plan_is_amended_with_its_parent(sextant: Sextant, plan_file: Path, decided: RunContext) -> None:
    """The block names the evaluated plan; the printed hash is the file's new one."""
    text = plan_file.read_text()
    plan_file.write_text(text.replace("looks: 5", "looks: 4"))
    result = _amend(sextant, plan_file, decided.home)
    assert result.code == 0, result.err
    plan = load_plan(plan_file)
    assert plan.amends is not None
    assert (plan.amends.parent, plan.amends.author) == (decided.plan_hash, "Ada")
    assert result.out.strip() == plan_hash(plan)
    assert plan_file.read_text().startswith(text.replace("looks: 5", "looks: 4").rstrip())
    assert sextant("check", plan_file).code == 0


@pytest.mark.parametrize(
    ("case", "message"),
    [
        pytest.param("unchanged", "nothing differs from the frozen plan", id="unchanged"),
        pytest.param("elsewhere", "has been evaluated, so nothing binds it yet", id="no run"),
        pytest.param("silent", "--reason is empty", id="no reason"),
    ],
)
def test_what_is_no_amendment_is_refused(
    case: str, message: str, sextant: Sextant, plan_file: Path, decided: RunContext
) -> None:
    """The file stays as it was."""
    home = plan_file.parent / "other" if case == "elsewhere" else decided.home
    before = plan_file.read_bytes()
    result = _amend(sextant, plan_file, home, reason=" " if case == "silent" else "why")
    assert (result.code, plan_file.read_bytes()) == (2, before)
    assert message in result.err


def _override(sextant: Sextant, plan: Path, home: Path, **options: str) -> Any:
    given = {"criterion": "accuracy", "as": "your-name", "reason": "why", "until": "2999-01-01", **options}
    return sextant("override", plan, "--home", home, *[f"--{name}={value}" for name, value in given.items()])


def test_an_override_is_in_force_for_its_plan(sextant: Sextant, plan_file: Path, decided: RunContext) -> None:
    """The run's context finds it under the criterion's hash."""
    assert decided.overrides() == {}
    result = _override(sextant, plan_file, decided.home)
    assert result.code == 0
    (override,) = decided.overrides().values()
    assert (override.criterion, override.person, override.expires.year) == ("accuracy", "your-name", 2999)
    assert "overridden by your-name until 2999-01-01" in result.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"criterion": "acuracy"}, "Did you mean accuracy?", id="no such criterion"),
        pytest.param({"as": "nobody"}, "not among owner.approvers", id="no approver"),
        pytest.param({"reason": ""}, "--reason is empty", id="no reason"),
        pytest.param({"until": "2001-01-01"}, "this is past", id="expired"),
    ],
)
def test_what_is_no_override_is_refused(
    options: dict[str, str], message: str, sextant: Sextant, plan_file: Path, decided: RunContext
) -> None:
    """Nothing is written, and the message says what to give."""
    result = _override(sextant, plan_file, decided.home, **options)
    assert result.code == 2
    assert message in result.err
    assert not (decided.home / "overrides").exists()
