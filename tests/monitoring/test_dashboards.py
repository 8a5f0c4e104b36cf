"""The overview dashboard: what a reader relies on in every panel."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from sextant_monitoring.dashboards import dashboard, dashboard_uid, render_dashboard
from sextant_plan.catalogue import Enforcement
from sextant_plan.loading import load_plan
from sextant_plan.schema import Plan

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "monitoring" / "dashboards").glob("*.json"))
PlanMaker = Callable[..., Plan]


def _panels(plan: Plan) -> list[dict[str, Any]]:
    return [panel for panel in dashboard(plan)["panels"] if panel["type"] != "row"]


def test_verdicts_come_first_one_for_each_watched_criterion(make_plan: PlanMaker) -> None:
    """The first row holds a verdict for every criterion that alerts or retrains, and nothing else."""
    plan = make_plan()
    rows = [panel for panel in dashboard(plan)["panels"] if panel["type"] == "row"]
    first = [panel for panel in _panels(plan) if panel["gridPos"]["y"] < rows[1]["gridPos"]["y"]]
    watched = [each.id for each in plan.criteria if {Enforcement.ALERT, Enforcement.RETRAIN} & set(each.enforce)]
    assert [panel["title"] for panel in first] == watched
    words = first[0]["fieldConfig"]["defaults"]["mappings"][0]["options"]
    assert {level: word["text"] for level, word in words.items()} == {"-1": "fail", "0": "unknown", "1": "pass"}


def test_every_criterion_has_its_limit_drawn(make_plan: PlanMaker) -> None:
    """The line lies where the alert's limit does, in the panel's unit."""
    drawn = {
        panel["title"].partition(":")[0]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"]
        for panel in _panels(make_plan())
        if ": " in panel["title"] and "thresholds" in panel["fieldConfig"]["defaults"]
    }
    assert drawn == {
        "accuracy": 0.9,
        "coverage": 0.9,
        "latency": 0.01,
        "median": 0.5,
        "errors": 0.01,
        "input-drift": 0.1,
    }


def test_every_panel_has_a_unit_a_description_and_a_query(make_plan: PlanMaker) -> None:
    """Nobody has to guess what a number means."""
    for panel in _panels(make_plan()):
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["description"].endswith(".")
        assert all(target["expr"] and target["legendFormat"] for target in panel["targets"])


def test_no_two_panels_overlap(make_plan: PlanMaker) -> None:
    """Every panel lies inside the grid and on its own."""
    boxes = [panel["gridPos"] for panel in dashboard(make_plan())["panels"]]
    assert all(box["x"] + box["w"] <= 24 for box in boxes)
    for a, b in combinations(boxes, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]


def test_identifiers_are_stable_and_fit_grafana(make_plan: PlanMaker) -> None:
    """A plan's dashboard replaces itself; another plan's is another one; at most 40 characters."""
    longest = "p" * 42
    assert render_dashboard(make_plan()) == render_dashboard(make_plan())
    assert len({dashboard_uid("parcels"), dashboard_uid("digits"), dashboard_uid(longest)}) == 3
    assert len(dashboard_uid(longest)) <= 40
    identifiers = [panel["id"] for panel in dashboard(make_plan())["panels"]]
    assert len(set(identifiers)) == len(identifiers)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_committed_dashboard_is_that_of_its_plan(path: Path) -> None:
    """`make generate` would change nothing."""
    plan = load_plan(ROOT / "examples" / path.stem / "plan.yaml")
    assert json.loads(path.read_text()) == dashboard(plan)
