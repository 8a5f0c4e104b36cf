"""What binds a plan: amendments that keep the file, overrides that expire, signatures that a change voids."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sextant_plan.amendment import NothingToAmend, amend_file, amended_criteria, amended_text
from sextant_plan.errors import InfrastructureError, UsageError
from sextant_plan.loading import load_plan, plan_hash
from sextant_plan.overrides import Override, binding_overrides, read_overrides, write_override
from sextant_plan.schema import Amendment
from sextant_plan.sign_off import (
    Signature,
    Subject,
    differences,
    read_signatures,
    standing,
    write_signature,
)
from sextant_plan.verdicts import Verdict

TEXT = """\
# A plan with comments that belong to their lines.
name: sorting
owner: {team: yard, approvers: [ada]}  # who answers for it
goal:
  business: sort parcels
  why_ml: rules miss one in five
criteria:
  # the limit of last year
  - {id: accuracy, metric: accuracy, at_least: 0.9}
data:
  source: data
  table: table.csv
  licence: {name: own, source: our yard, allows_training: true}
  consent: {basis: no persons}
  columns:
    price: {type: number}
model:
  task: tabular-classification
  inputs: {columns: [price]}
  candidates: [{architecture: linear}]
"""
PARENT, OTHER = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
AMENDMENT = Amendment(parent=PARENT, author="Ada", reason="the scale was replaced", date=date(2026, 3, 1))


@pytest.fixture
def plan_path(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_an_amendment_leaves_every_other_line_of_the_file(plan_path: Path) -> None:
    """Comments, order and style stay; the block is added at the end and read back."""
    parent = load_plan(plan_path)
    plan_path.write_text(TEXT.replace("0.9}", "0.92}"))
    new = amend_file(plan_path, parent, AMENDMENT)
    amended = load_plan(plan_path)
    assert plan_path.read_text().startswith(TEXT.replace("0.9}", "0.92}"))
    assert amended.amends == AMENDMENT
    assert new == plan_hash(amended) != plan_hash(parent)
    assert amended_criteria(parent, amended) == ["accuracy"]


def test_a_second_amendment_replaces_the_first_where_it_stands(plan_path: Path) -> None:
    """The block may stand anywhere; a comment behind it stays behind it."""
    parent = load_plan(plan_path)
    block = (
        "amends:\n  parent: " + OTHER + "\n  author: Bob\n  reason: >\n    folded\n    over lines\n  date: 2025-01-01\n"
    )
    plan_path.write_text(TEXT.replace("data:\n", f"{block}# about the data\ndata:\n", 1).replace("0.9}", "0.8}"))
    amend_file(plan_path, parent, AMENDMENT)
    text = plan_path.read_text()
    assert "Bob" not in text
    assert "date: 2026-03-01\n# about the data\ndata:" in text


def test_an_unchanged_plan_is_not_amended(plan_path: Path) -> None:
    """A comment is no change, and neither is an amendment."""
    parent = load_plan(plan_path)
    plan_path.write_text(TEXT.replace("# the limit", "# the new limit"))
    with pytest.raises(NothingToAmend, match=r"nothing differs .* Change the plan first"):
        amend_file(plan_path, parent, AMENDMENT)
    assert "amends" not in plan_path.read_text()


def test_a_plan_in_flow_style_is_left_alone() -> None:
    """There is no line to put the block on."""
    with pytest.raises(UsageError, match="flow style"):
        amended_text("{name: a}", AMENDMENT)


@given(author=st.text(min_size=1), reason=st.text(min_size=1))
def test_any_author_and_reason_are_read_back_as_written(author: str, reason: str) -> None:
    """Quotes, colons, line breaks and emoji do not break out of their places."""
    amendment = AMENDMENT.model_copy(update={"author": author, "reason": reason})
    text = amended_text("name: sorting\n", amendment)
    assert yaml.safe_load(text)["amends"] == {**amendment.model_dump(), "date": date(2026, 3, 1)}


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OVERRIDE = Override(
    plan_hash=PARENT,
    criterion="accuracy",
    criterion_hash=OTHER,
    person="ada",
    reason="the old model is worse",
    created=NOW,
    expires=NOW + timedelta(days=2),
)


@pytest.mark.parametrize(
    ("plan", "hours", "binds"),
    [
        pytest.param(PARENT, 0, True, id="from when it is written"),
        pytest.param(PARENT, 47.9, True, id="to just before it expires"),
        pytest.param(PARENT, 48, False, id="not once it has expired"),
        pytest.param(PARENT, -1, False, id="not before it was written"),
        pytest.param(OTHER, 1, False, id="not for another plan"),
    ],
)
def test_an_override_binds_one_plan_until_it_expires(plan: str, hours: float, binds: bool) -> None:
    """The clock and the plan's hash end it."""
    assert OVERRIDE.is_binding(plan, NOW + timedelta(hours=hours)) is binds


def test_overrides_are_kept_as_written(tmp_path: Path) -> None:
    """Written twice is written once; the one that ends last is in force."""
    longer = OVERRIDE.model_copy(update={"expires": NOW + timedelta(days=9)})
    paths = [write_override(tmp_path, each) for each in (longer, OVERRIDE, OVERRIDE)]
    assert len(set(paths)) == 2
    found = binding_overrides(read_overrides(tmp_path), PARENT, NOW + timedelta(hours=1))
    assert found == {OTHER: longer}
    assert longer.sentence == "overridden by ada until 2026-03-10T12:00+00:00: the old model is worse"


def test_a_file_that_is_no_override_stops_rather_than_vanishes(tmp_path: Path) -> None:
    """A damaged override is not silently none."""
    write_override(tmp_path, OVERRIDE).write_text("{}")
    with pytest.raises(InfrastructureError, match="not an override"):
        read_overrides(tmp_path)


SUBJECT = Subject(
    run_id="r1",
    verdict=Verdict.PASS,
    decision=OTHER,
    plan_hash=PARENT,
    bundle=OTHER,
    ledgers={"ledger/plan-1.jsonl": PARENT, "ledger/decide-1.jsonl": OTHER},
)

CHANGES = [
    pytest.param({"bundle": PARENT}, ["bundle"], id="another bundle"),
    pytest.param({"plan_hash": OTHER}, ["plan_hash"], id="another plan"),
    pytest.param({"verdict": Verdict.FAIL}, ["verdict"], id="another verdict"),
    pytest.param({"ledgers": {**SUBJECT.ledgers, "ledger/train-2.jsonl": OTHER}}, ["ledger/train-2.jsonl"], id="added"),
    pytest.param({"ledgers": {"ledger/plan-1.jsonl": PARENT}}, ["ledger/decide-1.jsonl"], id="removed"),
]


@pytest.mark.parametrize(("change", "named"), CHANGES)
def test_a_change_of_any_digest_voids_a_signature(change: dict[str, object], named: list[str]) -> None:
    """The signature does not hold, the person is missing again, and the cause is named."""
    found = SUBJECT.model_copy(update=change)
    assert differences(SUBJECT, found) == named
    state = standing(["ada"], [Signature(person="ada", subject=SUBJECT, time=1.0)], found)
    assert (state.void, state.missing, state.verdict) == ({"ada": named}, ["ada"], Verdict.UNKNOWN)


def test_a_promotion_needs_every_required_signature() -> None:
    """One of two is not enough, and others than those required do not count for them."""
    ada, eve = (Signature(person=person, subject=SUBJECT, time=1.0) for person in ("ada", "eve"))
    assert standing(["ada", "bob"], [ada, eve], SUBJECT).missing == ["bob"]
    assert standing(["ada"], [ada], SUBJECT).verdict is Verdict.PASS
    assert standing([], [], SUBJECT).verdict is Verdict.PASS


def test_a_signature_is_written_once_and_a_new_one_replaces_a_void_one(tmp_path: Path) -> None:
    """Signing again changes nothing; signing what is there now makes it whole."""
    first = Signature(person="ada", subject=SUBJECT, time=1.0)
    path = write_signature(tmp_path, first)
    assert write_signature(tmp_path, first.model_copy(update={"time": 2.0})) == path
    assert read_signatures(tmp_path) == [first]
    now = SUBJECT.model_copy(update={"bundle": PARENT})
    write_signature(tmp_path, Signature(person="ada", subject=now, time=3.0))
    state = standing(["ada"], read_signatures(tmp_path), now)
    assert (state.verdict, state.void) == (Verdict.PASS, {})
