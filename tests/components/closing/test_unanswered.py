"""What `sextant init` writes for a person to replace is no answer, and the dossier does not quote it as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from sextant_components.closing.dossier import run_dossier
from sextant_components.closing.dossier.facts import read_facts
from sextant_components.data.sources import read_source
from sextant_components.planning.feasibility import intent
from sextant_components.planning.plan import study_of
from sextant_components.runs.context import RunContext, create_run
from sextant_plan.unanswered import BUSINESS, CONSENT, NOT_ANSWERED, WHY_ML, YOUR_NAME, YOUR_TEAM
from sextant_plan.verdicts import Verdict

PLAN = f"""\
name: silent
owner: {{team: {YOUR_TEAM}, approvers: [{YOUR_NAME}, ada]}}
goal:
  business: {BUSINESS}
  why_ml: {WHY_ML}
criteria: [{{id: right, metric: accuracy, at_least: 0.5}}]
data:
  source: data
  table: table.csv
  label: kind
  columns: {{weight: {{type: number}}}}
  licence: {{name: CC0-1.0, source: drawn, allows_training: true}}
  consent: {{basis: {CONSENT}}}
model:
  task: tabular-classification
  inputs: {{columns: [weight]}}
  candidates: [{{architecture: linear}}]
"""


@pytest.fixture
def silent(tmp_path: Path) -> RunContext:
    """A run of a plan in which nobody has replaced what init wrote."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "table.csv").write_text("weight,kind\n1,a\n2,b\n", encoding="utf-8")
    (tmp_path / "plan.yaml").write_text(PLAN, encoding="utf-8")
    return create_run(tmp_path / "run", run_id="r", plan_path=tmp_path / "plan.yaml", home=tmp_path / "home")


def test_the_dossier_says_that_nobody_has_answered(silent: RunContext) -> None:
    """Header, card and annex alike; what was said by a person stays."""
    run_dossier(silent)
    page = (silent.run / "dossier.html").read_text(encoding="utf-8")
    for placeholder in (BUSINESS, WHY_ML, CONSENT, YOUR_TEAM, YOUR_NAME):
        assert placeholder.rstrip(".") not in page
    assert page.count(NOT_ANSWERED) >= 3
    plan, _ = read_facts(silent).plan
    assert "ada" in plan.owner.approvers
    assert "ada" in page


def test_what_is_not_answered_is_unknown(silent: RunContext) -> None:
    """The plan step names each question; once they are answered the record passes."""
    heading = intent.assess_answers(study_of(silent, read_source(silent.plan, silent.data_root, silent.home)))
    assert heading.verdict is Verdict.UNKNOWN
    assert heading.value["not_answered"] == [
        "owner.team", "owner.approvers", "goal.business", "goal.why_ml", "data.consent.basis",
    ]  # fmt: skip
