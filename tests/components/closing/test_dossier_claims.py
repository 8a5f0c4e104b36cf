"""What the dossier may say: statements with evidence, of the criteria as they are defined, and no placeholder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.components.closing.reading import answer_of, page_of

from sextant_components.closing.dossier import Claim, UncitedClaim, run_dossier
from sextant_components.closing.dossier.claims import Citation
from sextant_components.closing.dossier.facts import Facts, read_facts
from sextant_components.closing.dossier.page import render
from sextant_components.runs.context import RunContext, Step, create_run
from sextant_plan.verdicts import Verdict

PLAN_OF_MONEY = """\
name: worth
owner: {team: t, approvers: [a]}
goal:
  business: earn
  why_ml: no rule
  economics: {currency: SEK, value_per_correct: 1, cost_per_error: 1, predictions_per_day: 10}
criteria: [{id: worth, metric: net_value, at_least: 50}]
data:
  source: data
  images: images
  licence: {name: CC0-1.0, source: drawn, allows_training: true}
  consent: {basis: drawn}
model:
  task: image-classification
  inputs: {image: {height: 16, width: 16}}
  candidates: [{architecture: linear}]
"""


def test_evidence_that_changed_is_named(tell: Callable[..., RunContext]) -> None:
    """A changed ledger and a lost artifact are in the answer, and the rest is still rendered."""
    context = tell()
    path = context.run / "ledger" / "train-1.jsonl"
    path.write_bytes(path.read_bytes().replace(b"small-cnn", b"large-cnn", 1))
    facts = read_facts(context)
    matrix = next(artifact for artifact in facts.artifacts(Step.EVALUATE) if artifact.name == "confusion.json")
    context.artifacts.path(matrix.digest).write_bytes(b"{}")
    page = page_of(context)
    assert "The evidence of the step train cannot be trusted and is left out" in answer_of(page)
    assert "“confusion.json” of the check “what the model gets wrong” is lost" in answer_of(page)
    assert page.root.find("table", "heat") == []
    assert "Reliability" in page.by_id("evaluation").text


def test_what_is_seen_in_service_is_not_what_the_gate_saw(tell: Callable[..., RunContext]) -> None:
    """A criterion that fails again in service keeps the gate's numbers, and its failure is said by itself."""
    page = page_of(tell(slow=90))
    assert "18.2" in page.by_id("c-p99-latency").text
    answer = answer_of(page)
    assert answer.startswith("fail In service, and failing there")
    assert "Put the previous version back in service" in answer
    assert "watch: the check “alert p99-latency” failed." in answer
    assert "found: 0.1, bounds 0.084" in answer
    assert "All 6 gates of the plan hold" in answer


def test_evidence_of_another_definition_does_not_count(empty_run: RunContext) -> None:
    """A record of the same id whose limit was another one leaves the criterion without evidence."""
    criterion = empty_run.plan.criteria[0]
    lax = criterion.model_copy(update={"at_least": 0.1})
    with empty_run.ledger(Step.EVALUATE) as ledger:
        ledger.record("accuracy", requirement="", risk="", qa_method="", verdict=Verdict.PASS, criterion=lax)
    assert "No evidence was recorded for accuracy," in answer_of(page_of(empty_run))


def test_a_claim_without_evidence_cannot_be_made() -> None:
    """The error quotes the sentence and says what to do."""
    with pytest.raises(UncitedClaim, match=r"The model is good.* rests on nothing.*give the claim the record"):
        Claim("The model is good", [])


@pytest.mark.parametrize("text", ["The model is TODO", "TBD", "Lorem ipsum dolor", "For <your reason>"])
def test_a_placeholder_is_no_claim(text: str) -> None:
    """A sentence that states nothing fails the render, whatever it cites."""
    with pytest.raises(UncitedClaim, match="placeholder"):
        Claim(text, [Citation("f-ledger", "sha256:" + "0" * 64)])


def test_plain_english_is_no_placeholder() -> None:
    """What is to do, and the names of columns, can be said."""
    Claim("What to do next: mend the column todo_count.", [Citation("f-ledger", "sha256:" + "0" * 64)])


def test_money_is_in_the_currency_of_the_plan(tmp_path: Path) -> None:
    """The catalogue's unit is currency a day; a reader sees whose."""
    text = PLAN_OF_MONEY
    (tmp_path / "plan.yaml").write_text(text, encoding="utf-8")
    context = create_run(tmp_path / "run", run_id="r", plan_path=tmp_path / "plan.yaml", home=tmp_path / "home")
    row = page_of(context).by_id("c-worth").text.replace("\u00a0", " ")
    assert "≥ 50 SEK/day" in row


def test_a_citation_of_nothing_fails_the_render_and_writes_nothing(
    tell: Callable[..., RunContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evidence that the appendix does not hold is no evidence."""
    context = tell()
    forged = property(lambda _: Citation("r-train-99", "sha256:" + "f" * 64))
    monkeypatch.setattr(Facts, "ledger", forged)
    monkeypatch.setattr("sextant_components.closing.dossier.appendix._files", lambda _: [])
    with pytest.raises(UncitedClaim, match="not among the run's evidence"):
        run_dossier(context)
    assert not (context.run / "dossier.html").exists()


def test_the_page_depends_on_the_evidence_alone(tell: Callable[..., RunContext]) -> None:
    """Rendering twice gives the same bytes."""
    context = tell()
    assert render(read_facts(context)) == render(read_facts(context))
