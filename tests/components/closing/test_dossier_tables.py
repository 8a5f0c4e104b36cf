"""What evidence looks like in the dossier: tables, plots, and text that stays text."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from tests.components.closing.reading import page_of

from sextant_components.closing.dossier.facts import read_facts
from sextant_components.runs.context import RunContext, Step
from sextant_plan.verdicts import Verdict


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
