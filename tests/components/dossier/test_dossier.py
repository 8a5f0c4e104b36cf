"""The dossier: the answer first, every sentence with its evidence, whatever became of the run."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import combinations_with_replacement, pairwise
from pathlib import Path
from typing import Any

import pytest

from sextant_components.context import RunContext, Step, create_run
from sextant_components.dossier import Claim, UncitedClaim, run_dossier
from sextant_components.dossier.claims import Citation
from sextant_components.dossier.facts import Facts, read_facts
from sextant_components.dossier.page import render
from sextant_components.dossier.palette import DARK, LIGHT, Colours, contrast, heat
from sextant_plan.verdicts import Estimate, Verdict

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
VOID = {"meta", "link", "img", "br", "use", "path", "circle", "line", "rect"}
STORIES = [
    pytest.param({}, id="passed"),
    pytest.param({"right": 500, "last": Step.DECIDE}, id="failed"),
    pytest.param({"right": 550, "last": Step.DECIDE}, id="undecided"),
    pytest.param({"failing_check_in": Step.VERIFY, "last": Step.VERIFY}, id="stopped early"),
    pytest.param({"crash_in": Step.TRAIN}, id="crashed"),
]


@dataclass
class Element:
    """One element of the page."""

    tag: str
    attributes: dict[str, str | None]
    parent: Element | None
    content: list[Element | str] = field(default_factory=list)

    def walk(self) -> Iterator[Element]:
        """Yield the element and all below it, in document order."""
        yield self
        for part in self.content:
            if isinstance(part, Element):
                yield from part.walk()

    def find(self, tag: str, css: str = "") -> list[Element]:
        """Return the descendants of a tag, and of a class if one is given."""
        return [e for e in self.walk() if e.tag == tag and css in ["", *(e.attributes.get("class") or "").split()]]

    @property
    def text(self) -> str:
        """The text of the element and all below it, in document order."""
        parts = [part if isinstance(part, str) else f" {part.text} " for part in self.content]
        return " ".join("".join(parts).split())


class Page(HTMLParser):
    """A parsed page; a tag that is closed out of order fails."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = Element("", {}, None)
        self._at = self.root
        self.feed(html)
        assert self._at is self.root, f"<{self._at.tag}> is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs), self._at)
        self._at.content.append(element)
        if tag not in VOID:
            self._at = element

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._at.tag == tag, f"</{tag}> closes <{self._at.tag}>"
            assert self._at.parent is not None
            self._at = self._at.parent

    def handle_data(self, data: str) -> None:
        self._at.content.append(data)

    def by_id(self, name: str) -> Element:
        """Return the one element of this id."""
        (found,) = [element for element in self.root.walk() if element.attributes.get("id") == name]
        return found


def page_of(context: RunContext) -> Page:
    """Write the run's dossier and parse it."""
    return Page(run_dossier(context).read_text(encoding="utf-8"))


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


def answer_of(page: Page) -> str:
    """Return the text of the answer."""
    return page.by_id("answer").text


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


def test_the_verdict_table_holds_every_criterion(tell: Callable[..., RunContext]) -> None:
    """Limit, value, bounds, rows, confidence, verdict and evidence, also for what is only watched."""
    page = page_of(tell())
    row = page.by_id("c-accuracy").text
    for part in (
        "≥\u00a00.9".replace("\u00a0", " "),
        "0.96",
        "0.9442 to 0.9723",
        "600",
        "at 95 %",
        "needs 300",
        "pass",
    ):
        assert part in row.replace("\u00a0", " "), part
    assert len(page.by_id("c-accuracy").find("a", "cite")) == 2
    assert "not measured" in page.by_id("c-input-drift").text
    assert "light=dim" in page.by_id("c-accuracy-dim").text


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


def test_the_confusion_matrix_is_a_table_and_a_picture(tell: Callable[..., RunContext]) -> None:
    """Numbers with headers, shades by row, and the most frequent error in words."""
    context = tell()
    section = page_of(context).by_id("evaluation")
    (table,) = section.find("table", "heat")
    assert [row.text.split() for row in table.find("tr")][1] == ["fragile", "140", "6", "3", "1"]
    assert [cell.attributes["class"] for cell in table.find("td")][:4] == ["h9", "h1", "h1", "h1"]
    assert "The most frequent error takes fragile for heavy, 6 times." in section.text
    pictures = [
        image for image in section.find("img") if (image.attributes["alt"] or "").startswith("Confusion matrix")
    ]
    shown = base64.b64decode((pictures[0].attributes["src"] or "").partition(",")[2])
    stored = {
        artifact.name: read_facts(context).read(artifact) for artifact in read_facts(context).artifacts(Step.EVALUATE)
    }
    assert shown == stored["confusion.png"]


def test_lists_become_tables_with_intervals(tell: Callable[..., RunContext]) -> None:
    """The slices are a table, name first and bounds last, their intervals drawn on one axis."""
    section = page_of(tell()).by_id("evaluation")
    (table,) = [t for t in section.find("table") if t.text.startswith("Slices")]
    assert [cell.text for cell in table.find("th") if cell.attributes["scope"] == "col"] == [
        "Slice", "Accuracy", "Low", "High", "N", "Interval",
    ]  # fmt: skip
    ranges = [float(e.attributes["x"] or 0) for e in table.find("rect", "range")]
    assert len(ranges) == 3
    assert ranges == sorted(ranges, reverse=True)


def test_markup_in_evidence_is_text(empty_run: RunContext) -> None:
    """Names, values and pictures from the data cannot become elements of the page."""
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    with empty_run.ledger(Step.EVALUATE) as ledger:
        put = ledger.artifacts
        ledger.record(
            evil,
            requirement=evil,
            risk=evil,
            qa_method=evil,
            value={evil: [evil]},
            verdict=Verdict.PASS,
            artifacts={
                f"{evil}.json": put.put_json([{evil: evil, "verdict": f'" onclick="{evil}'}]),
                "confusion.json": put.put_json({"classes": [evil, "b"], "matrix": [[1, 2], [3, 4]]}),
                "drawing.png": put.put_bytes(f"<svg>{evil}</svg>".encode()),
            },
        )
    page = page_of(empty_run)
    assert page.root.find("script") == []
    assert page.root.find("img") == []
    assert not any(name.startswith("on") for element in page.root.walk() for name in element.attributes)
    assert "<script>alert(1)</script>" in page.by_id("evaluation").text


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        None,
        3,
        "text",
        [1, 2],
        [{}],
        {"a": {"b": [{}]}},
        {"classes": ["a"], "matrix": [[1, 2]]},
        {"classes": ["a"], "matrix": [["x"]]},
        {"classes": 3, "matrix": "x"},
    ],
    ids=str,
)
def test_an_artifact_of_any_shape_leaves_the_page_whole(empty_run: RunContext, content: Any) -> None:
    """JSON that is not what a table or a matrix needs is shown as well as it can be, or listed as a file."""
    with empty_run.ledger(Step.EVALUATE) as ledger:
        artifacts = {"confusion.json": ledger.artifacts.put_json(content)}
        ledger.record("shape", requirement="", risk="", qa_method="", verdict=Verdict.PASS, artifacts=artifacts)
    assert "confusion.json sha256:" in page_of(empty_run).by_id("evidence").text


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


def test_numbers_become_plots(tell: Callable[..., RunContext]) -> None:
    """The slices are drawn with their bounds; a plot has a name in words, and its caption cites the record."""
    section = page_of(tell()).by_id("evaluation")
    plots = section.find("svg", "plot")
    assert [(plot.attributes["aria-label"] or "").partition(".")[0] for plot in plots] == ["Bounds by slice"]
    assert all(plot.attributes["role"] == "img" and plot.find("polyline") for plot in plots)
    assert all(plot.parent is not None and plot.parent.find("a", "cite") for plot in plots)


@pytest.mark.parametrize(
    ("name", "content", "title"),
    [
        (
            "learning_curve.json",
            [
                {"rows": 10 * n, "accuracy": 0.5 + n / 10, "low": 0.4, "high": 0.9, "extrapolated": n > 2}
                for n in range(1, 5)
            ],
            "Learning curve of the feasibility study",
        ),
        (
            "staleness.json",
            [
                {"age_days": 3.0 * n, "rows": 20, "accuracy": 0.9 - n / 50, "low": 0.7, "high": 0.99}
                for n in range(1, 5)
            ],
            "Accuracy by the model's age",
        ),
        ("reliability.json", [{"confidence": 0.5, "accuracy": 0.4, "n": 9}], "Reliability diagram"),
        ("latency.json", {"p50": 1.0, "p99": 3.0, "values_ms": [1.0, 1.5, 3.0]}, "Distribution of request times"),
        (
            "reference.json",
            {"features": [{"name": "weight", "edges": [1.0, 2.0], "counts": [3, 4, 5]}], "classes": {"a": 12}},
            "Drift reference: weight",
        ),
    ],
)
def test_each_known_artifact_is_drawn(empty_run: RunContext, name: str, content: Any, title: str) -> None:
    """Each curve, diagram, distribution and reference stands as a plot with its numbers in words."""
    with empty_run.ledger(Step.EVALUATE) as ledger:
        artifacts = {name: ledger.artifacts.put_json(content)}
        ledger.record("drawn", requirement="", risk="", qa_method="", verdict=Verdict.PASS, artifacts=artifacts)
    (plot,) = page_of(empty_run).by_id("evaluation").find("svg", "plot")
    assert (plot.attributes["aria-label"] or "").startswith(title)


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


def test_a_citation_of_nothing_fails_the_render_and_writes_nothing(
    tell: Callable[..., RunContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evidence that the appendix does not hold is no evidence."""
    context = tell()
    forged = property(lambda _: Citation("r-train-99", "sha256:" + "f" * 64))
    monkeypatch.setattr(Facts, "ledger", forged)
    monkeypatch.setattr("sextant_components.dossier.appendix._files", lambda _: [])
    with pytest.raises(UncitedClaim, match="not among the run's evidence"):
        run_dossier(context)
    assert not (context.run / "dossier.html").exists()


def test_the_page_depends_on_the_evidence_alone(tell: Callable[..., RunContext]) -> None:
    """Rendering twice gives the same bytes."""
    context = tell()
    assert render(read_facts(context)) == render(read_facts(context))


@pytest.mark.parametrize("colours", [pytest.param(LIGHT, id="light"), pytest.param(DARK, id="dark")])
def test_text_has_contrast_aa(colours: Colours) -> None:
    """Every text colour reaches 4.5 to 1 on every ground that it stands on."""
    grounds = [colours["paper"], colours["surface"], colours["accent-soft"]]
    pairs = [(colours[text], ground) for text in ("ink", "quiet", "accent") for ground in grounds]
    for tone in ("pass", "fail", "unknown", "idle"):
        pairs += [(colours[tone], colours[f"{tone}-soft"]), (colours["ink"], colours[f"{tone}-soft"])]
    assert [(text, ground) for text, ground in pairs if contrast(text, ground) < 4.5] == []


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_shades_can_be_read_and_told_apart(mode: str) -> None:
    """Each of the ten shades keeps its number readable, and darker never follows lighter."""
    shades = heat(mode)
    assert len(shades) == 10
    assert [shade for shade in shades if contrast(*shade) < 4.5] == []
    steps = [contrast(shades[0][0], ground) for ground, _ in shades]
    assert all(after > before for before, after in pairwise(steps))


def test_contrast_is_that_of_the_standard() -> None:
    """Black on white is 21, a colour on itself 1, and the order does not matter."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for one, other in combinations_with_replacement(["#000000", "#1f5673", "#ffffff"], 2):
        assert contrast(one, other) == contrast(other, one) >= 1


def test_the_dossier_replaces_the_one_before(tell: Callable[..., RunContext], tmp_path: Path) -> None:
    """A second render leaves one file and no partial one."""
    context = tell()
    assert run_dossier(context) == run_dossier(context) == context.run / "dossier.html"
    assert [path.name for path in context.run.iterdir() if path.name.endswith(".html") or ".html." in path.name] == [
        "dossier.html"
    ]
