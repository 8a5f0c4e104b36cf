"""What a drill proves, for how long, and what a promotion asks of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sextant_plan.drills import (
    FOLDER,
    Conducted,
    Outcome,
    drill_objections,
    drill_of,
    last_drills,
    read_conducted,
    wanted_drills,
)
from sextant_plan.errors import LedgerCorrupt
from sextant_plan.ledger import LedgerWriter, Origin
from sextant_plan.loading import load_plan
from sextant_plan.schema import Drills, FailureMode, Plan
from sextant_plan.types import DrillName
from sextant_plan.verdicts import Verdict

ROOT = Path(__file__).parents[2]
DAY = 86400.0
SLOW = FailureMode.model_validate({"mode": "slow", "fallback": "503", "recover_within": "60s", "drill": "slow-model"})


def outcome(drill: DrillName = DrillName.SLOW_MODEL, **changes: Any) -> Outcome:
    """A drill that was noticed after one second and over after ten, of sixty allowed."""
    said: dict[str, Any] = {
        "drill": drill, "plan": "tiny", "profile": "local", "modes": [], "fault": "-", "detected_by": "-",
        "detected_after": 1.0, "recovery": "-", "recovered_after": 10.0, "recover_within": 60.0, **changes,
    }  # fmt: skip
    return Outcome.model_validate(said)


def held(age: float, verdict: Verdict = Verdict.PASS, **changes: Any) -> Conducted:
    """A drill that ended `age` seconds before the time 0."""
    return Conducted(outcome(**changes), verdict, -age, ())


def write(home: Path, run_id: str, said: Outcome) -> Path:
    """Write a drill's ledger below a home."""
    origin = Origin(run_id, "sha256:" + "0" * 64, "-", "-")
    with LedgerWriter(home / FOLDER / run_id, "drill", "monitoring", origin) as ledger:
        ledger.record(
            "drill", requirement="-", risk="-", qa_method="-", verdict=said.verdict,
            value=said.model_dump(mode="json"),
        )  # fmt: skip
    return ledger.path


@pytest.fixture
def plan() -> Plan:
    """A plan that asks for the drill of its one failure mode, no older than 30 days."""
    tiny = load_plan(ROOT / "examples" / "tiny" / "plan.yaml")
    return tiny.model_copy(update={"failure": [SLOW], "drills": Drills(max_age=30 * DAY)})


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        pytest.param({}, Verdict.PASS, id="noticed and over in time"),
        pytest.param({"detected_after": None}, Verdict.FAIL, id="never noticed"),
        pytest.param({"recovered_after": None}, Verdict.FAIL, id="never over"),
        pytest.param({"recovered_after": 61.0}, Verdict.FAIL, id="over too late"),
        pytest.param({"recovered_after": 999.0, "recover_within": None}, Verdict.PASS, id="no bound in the plan"),
    ],
)
def test_a_drill_passes_if_the_failure_was_noticed_and_over_in_time(changes: dict[str, Any], verdict: Verdict) -> None:
    """The bound is the plan's recover_within."""
    assert outcome(**changes).verdict is verdict


def test_a_failure_mode_is_rehearsed_by_what_it_names_or_by_its_own_name() -> None:
    """Other modes have no drill."""
    modes = [SLOW, *(FailureMode(mode=name, fallback="-", recover_within=1) for name in ("dead-pod", "fire"))]
    assert [drill_of(mode) for mode in modes] == [DrillName.SLOW_MODEL, DrillName.DEAD_POD, None]


def test_a_promotion_asks_for_the_plans_modes_and_for_what_it_adds(plan: Plan) -> None:
    """Without `drills` it asks for none."""
    more = plan.model_copy(update={"drills": Drills(max_age=1.0, also=[DrillName.RESTORE_REGISTRY])})
    assert wanted_drills(more) == [DrillName.SLOW_MODEL, DrillName.RESTORE_REGISTRY]
    assert wanted_drills(plan.model_copy(update={"drills": None})) == []


@pytest.mark.parametrize(
    ("drills", "verdict", "words"),
    [
        pytest.param([], Verdict.UNKNOWN, "never held", id="none"),
        pytest.param([held(DAY, drill=DrillName.DRIFT)], Verdict.UNKNOWN, "never held", id="another"),
        pytest.param([held(DAY, plan="digits")], Verdict.UNKNOWN, "never held", id="of another plan"),
        pytest.param([held(DAY, Verdict.FAIL)], Verdict.FAIL, "ended as fail", id="failed"),
        pytest.param([held(31 * DAY)], Verdict.UNKNOWN, "31.0 d old, and counts for 30d", id="too old"),
    ],
)
def test_what_is_missing_failed_or_too_old_stands_against_a_promotion(
    plan: Plan, drills: list[Conducted], verdict: Verdict, words: str
) -> None:
    """Each is told apart."""
    ((found, text),) = drill_objections(plan, drills, first=False, now=0.0)
    assert found is verdict
    assert words in text


def test_a_drill_that_passed_and_is_young_enough_lets_through(plan: Plan) -> None:
    """On the last day it still counts."""
    assert drill_objections(plan, [held(30 * DAY)], first=False, now=0.0) == []


def test_the_first_release_is_let_through_only_with_grace(plan: Plan) -> None:
    """Before it nothing is in service that could be rehearsed."""
    strict = plan.model_copy(update={"drills": Drills(max_age=1.0, grace_first_release=False)})
    assert drill_objections(plan, [], first=True, now=0.0) == []
    assert len(drill_objections(strict, [], first=True, now=0.0)) == 1


def test_the_last_finished_drill_of_each_name_counts(tmp_path: Path) -> None:
    """An earlier one, one of another plan and one that was killed do not."""
    write(tmp_path, "a", outcome(detected_after=None))
    write(tmp_path, "b", outcome())
    write(tmp_path, "c", outcome(plan="digits"))
    killed = write(tmp_path, "d", outcome(detected_after=None))
    killed.write_bytes(killed.read_bytes().splitlines(keepends=True)[0])
    found = last_drills(tmp_path, "tiny")
    assert {name: each.verdict for name, each in found.items()} == {DrillName.SLOW_MODEL: Verdict.PASS}


def test_a_drill_whose_lines_were_changed_is_refused(tmp_path: Path) -> None:
    """A release carries the lines, so that its reader can check them."""
    lines = write(tmp_path, "a", outcome(detected_after=None)).read_text().splitlines()
    assert read_conducted(lines, "release").verdict is Verdict.FAIL
    changed = [lines[0].replace('"verdict":"fail"', '"verdict":"pass"'), *lines[1:]]
    with pytest.raises(LedgerCorrupt):
        read_conducted(changed, "release")


@pytest.mark.parametrize(
    ("added", "field"),
    [
        pytest.param("drills: {max_age: 30d}\n", "drills", id="nothing to rehearse"),
        pytest.param("drills: {max_age: 30d, also: [restore-features]}\n", "failure", id="no feature store to restore"),
    ],
)
def test_drills_that_cannot_be_held_are_a_fault_of_the_plan(tmp_path: Path, added: str, field: str) -> None:
    """`check` says so before anybody waits for a promotion."""
    from sextant_plan.errors import PlanError

    path = tmp_path / "plan.yaml"
    path.write_text((ROOT / "examples" / "tiny" / "plan.yaml").read_text(encoding="utf-8") + added, encoding="utf-8")
    with pytest.raises(PlanError) as caught:
        load_plan(path)
    assert any(finding.field.startswith(field) for finding in caught.value.findings)
