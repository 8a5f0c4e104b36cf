"""The dossier: the answer first, every sentence with its evidence, whatever became of the run."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.components.closing.reading import Element, answer_of, page_of

from sextant_components.closing.dossier import run_dossier
from sextant_components.runs.context import RunContext, Step
from sextant_plan.verdicts import Estimate

STORIES = [
    pytest.param({}, id="passed"),
    pytest.param({"right": 500, "last": Step.DECIDE}, id="failed"),
    pytest.param({"right": 550, "last": Step.DECIDE}, id="undecided"),
    pytest.param({"failing_check_in": Step.VERIFY, "last": Step.VERIFY}, id="stopped early"),
    pytest.param({"crash_in": Step.TRAIN}, id="crashed"),
]


@pytest.mark.parametrize("story", STORIES)
def test_every_statement_cites_evidence_that_is_there(tell: Callable[..., RunContext], story: dict[str, Any]) -> None:
    """Each claim, caption and picture ends in a citation, and each citation leads to a row with that digest."""
    page = page_of(tell(**story))
    rows = {
        element.attributes["id"]: element
        for element in page.by_id("evidence").find("tr")
        if element.attributes.get("id")
    }
    cites = page.root.find("a", "cite")
    assert len(cites) > 20
    for cite in cites:
        row = rows[(cite.attributes["href"] or "").removeprefix("#")]
        assert (cite.attributes["title"] or "nothing") in row.text
    main = [section for section in page.root.find("section") if section.attributes["id"] != "evidence"]
    said = [e for s in main for tag in ("li", "caption", "figcaption", "p", "dd") for e in s.find(tag)]
    assert [
        element.text for element in said if element.text and not element.find("a", "cite") and not _labelled(element)
    ] == []


def _labelled(element: Element) -> bool:
    """Tell whether it is the hidden name of a table whose visible caption stands before it."""
    return "hidden" in (element.attributes.get("class") or "")


@pytest.mark.parametrize("story", STORIES)
def test_the_page_needs_nothing_else(tell: Callable[..., RunContext], story: dict[str, Any]) -> None:
    """No script, no style sheet, font or picture from elsewhere, and a policy that would refuse them."""
    page = page_of(tell(**story))
    assert page.root.find("script") == []
    assert [link.attributes["href"] for link in page.root.find("link")] == ["data:,"]
    assert all((image.attributes["src"] or "").startswith("data:image/") for image in page.root.find("img"))
    assert all((a.attributes["href"] or "").startswith("#") for a in page.root.find("a"))
    style = "".join(element.text for element in page.root.find("style"))
    assert not re.search(r"@import|url\(|https?:", style)
    policies = [meta.attributes.get("content") or "" for meta in page.root.find("meta")]
    assert any(policy.startswith("default-src 'none'") for policy in policies)


@pytest.mark.parametrize("story", STORIES)
def test_the_page_can_be_read_without_seeing_it(tell: Callable[..., RunContext], story: dict[str, Any]) -> None:
    """Headings in order, alternative texts, scoped table headers, ids once, a language and a title."""
    page = page_of(tell(**story))
    levels = [int(e.tag[1]) for e in page.root.walk() if re.fullmatch(r"h[1-6]", e.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(image.attributes.get("alt") for image in page.root.find("img"))
    assert {cell.attributes.get("scope") for cell in page.root.find("th")} == {"row", "col"}
    assert all(table.find("caption")[0].text for table in page.root.find("table"))
    ids = [element.attributes["id"] for element in page.root.walk() if "id" in element.attributes]
    assert sorted(set(ids), key=str) == sorted(ids, key=str)
    assert page.root.find("html")[0].attributes["lang"] == "en"
    assert "parcel-labels" in page.root.find("title")[0].text


def test_a_passed_run_says_so_first(tell: Callable[..., RunContext]) -> None:
    """The answer is the first section, names the verdict and says that the model is in service."""
    page = page_of(tell())
    assert page.root.find("section")[0].attributes["id"] == "answer"
    answer = answer_of(page)
    assert answer.startswith("pass Proved, and in service")
    assert "All 6 gates of the plan hold" in answer
    assert "The model was promoted and put in service." in answer


def test_a_failing_criterion_is_said_in_a_sentence(tell: Callable[..., RunContext]) -> None:
    """The bound that disproves it, the limit, and what to do."""
    answer = answer_of(page_of(tell(right=500, last=Step.DECIDE)))
    assert answer.startswith("fail Disproved: do not use this model")
    assert "accuracy: even the upper bound 0.8579 is below 0.9, which disproves it." in answer
    assert "For accuracy: read the errors and the weakest slices" in answer
    assert "amend the plan with an author and a reason" in answer
    assert "Nothing was promoted: what was in service before is still in service." in answer


def test_an_undecided_criterion_says_how_much_would_decide_it(tell: Callable[..., RunContext]) -> None:
    """The bound that does not reach the limit, and the rows that would bring it there."""
    answer = answer_of(page_of(tell(right=550, last=Step.DECIDE)))
    assert answer.startswith("unknown Not proved: do not use this model yet")
    assert "accuracy: the lower bound 0.8957 is below 0.9, so it is not proved." in answer
    assert "For accuracy: measure on about 950 labelled rows or more." in answer


def test_too_few_requests_ask_for_as_many_as_a_percentile_needs(tell: Callable[..., RunContext]) -> None:
    """A 99th percentile has no upper bound at 95 % before 299 requests, although the plan asks for 200."""
    few = Estimate(18.0, 12.0, float("inf"), 40, 0.95)
    page = page_of(tell(p99=few, last=Step.DECIDE))
    assert "p99-latency: 40 rows are too few; the plan needs 200." in answer_of(page)
    assert "For p99-latency: measure on about 299 requests or more." in answer_of(page)
    assert "12 to none" in page.by_id("c-p99-latency").text


def test_a_crash_says_where_why_and_what_to_do(tell: Callable[..., RunContext]) -> None:
    """The step, its error, its last record, the steps that were not reached, and the way out."""
    context = tell(crash_in=Step.TRAIN)
    message = "/data: No space left on device. Free 2 GB and run again."
    report = f'{{"step": "train", "exit_code": 4, "message": "{message}"}}'
    (context.run / "error.json").write_text(report, encoding="utf-8")
    page = page_of(context)
    answer = answer_of(page)
    assert answer.startswith("unknown The run broke before it could be judged")
    assert f"The step train stopped with an error: {message} Its last record is “search”." in answer
    assert "Not reached: optimise, evaluate, decide, register, roll out and watch." in answer
    assert "No evidence was recorded for accuracy, accuracy-dim, every-class, p99-latency and few-errors" in answer
    assert "Mend the machine, server or file that the error names" in answer
    assert "The step evaluate was not reached" in page.by_id("evaluation").text


def test_a_usage_error_points_at_the_plan(tell: Callable[..., RunContext]) -> None:
    """A fault of the plan or the data is told apart from one of the machine."""
    context = tell(crash_in=Step.INGEST)
    report = '{"step": "ingest", "exit_code": 2, "message": "parcels.csv: no column “handling”. Add it."}'
    (context.run / "error.json").write_text(report, encoding="utf-8")
    answer = answer_of(page_of(context))
    assert "The plan or its data has to be corrected" in answer
    assert "Correct the plan or the data where the error says, then run again." in answer


def test_a_failed_check_is_said_in_a_sentence(tell: Callable[..., RunContext]) -> None:
    """A step that stopped the run without any criterion names the check and what it found."""
    answer = answer_of(page_of(tell(failing_check_in=Step.VERIFY, last=Step.VERIFY)))
    assert "verify: the check “a rule of the source” failed." in answer
    assert answer.startswith("fail Stopped at verify, before there was a model to judge")
    assert "found: dropped 212; rows 600." in answer
    assert "Mend what the failed checks above name" in answer


def test_a_run_without_any_step_has_a_dossier(empty_run: RunContext) -> None:
    """Nothing happened, and the page says that, resting on the plan file and the empty ledger."""
    page = page_of(empty_run)
    assert "Not reached: plan, ingest," in answer_of(page)
    assert "This run did not freeze its plan" in page.by_id("plan").text


def test_the_model_card_is_a_file_too(tell: Callable[..., RunContext]) -> None:
    """The same claims as on the page, each with its digest, which the list at the end holds in full."""
    context = tell()
    page = page_of(context)
    text = (context.run / "model-card.md").read_text(encoding="utf-8")
    assert page.by_id("card").find("h3")[0].text == "Model details"
    assert "## Ethical considerations" in text
    marks = set(re.findall(r"\[([0-9a-f]{7})\]", text))
    listed = set(re.findall(r"^\| ([0-9a-f]{7}) \| `sha256:\1", text, re.MULTILINE))
    assert marks == listed
    assert all(re.search(r"\[[0-9a-f]{7}\]$", line) for line in text.splitlines() if line.startswith("- "))


def test_annex_iv_has_its_nine_sections(tell: Callable[..., RunContext]) -> None:
    """Each holds at least one claim, also for a run that broke early."""
    for section in (page_of(tell(crash_in=Step.INGEST)).by_id("annex"),):
        assert [heading.text[:2] for heading in section.find("h3")] == [f"{number}." for number in range(1, 10)]
        assert all(part.find("li") for part in section.find("ul"))


def test_the_dossier_replaces_the_one_before(tell: Callable[..., RunContext], tmp_path: Path) -> None:
    """A second render leaves one file and no partial one."""
    context = tell()
    assert run_dossier(context) == run_dossier(context) == context.run / "dossier.html"
    assert [path.name for path in context.run.iterdir() if path.name.endswith(".html") or ".html." in path.name] == [
        "dossier.html"
    ]
