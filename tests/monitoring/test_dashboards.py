"""The boards: what a reader relies on in every panel; the files that Grafana and Alertmanager start from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from sextant_monitoring.alertmanager import alertmanager_config
from sextant_monitoring.board_overview import PHASES, overview_board
from sextant_monitoring.boards import boards, render_boards
from sextant_monitoring.grafana import board_uid
from sextant_monitoring.provisioning import BOARDS_FOLDER, render_provisioning
from sextant_plan.alerts import AlertKind
from sextant_plan.catalogue import Enforcement, Kind
from sextant_plan.loading import load_plan
from sextant_plan.schema import Plan

ROOT = Path(__file__).parents[2]
WATCHED = ("digits", "parcels")
PlanMaker = Callable[..., Plan]


def _documents(plan: Plan) -> list[dict[str, Any]]:
    return [json.loads(text) for text in render_boards(plan).values()]


def _panels(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def test_every_watched_criterion_has_its_verdict_under_its_phase(make_plan: PlanMaker) -> None:
    """The overview holds a verdict for every criterion that alerts or retrains, each once, before any curve."""
    plan = make_plan()
    board = overview_board(plan)
    verdicts = [panel.title for panel in board.panels if panel.kind == "verdict"]
    watched = [each.id for each in plan.criteria if {Enforcement.ALERT, Enforcement.RETRAIN} & set(each.enforce)]
    assert sorted(verdicts) == sorted(watched)
    kinds = [panel.kind for panel in board.panels]
    assert kinds.index("timeseries") > max(place for place, kind in enumerate(kinds) if kind == "verdict")


def test_the_phases_take_every_kind_of_criterion_once() -> None:
    """No criterion can be left without a phase."""
    assert sorted(kind for kinds in PHASES.values() for kind in kinds) == sorted(Kind)


def test_a_verdict_reads_as_a_word(make_plan: PlanMaker) -> None:
    """-1, 0 and 1 are fail, unknown and pass, and silence is unknown."""
    (panel,) = [each for each in _panels(_documents(make_plan())[0]) if each["title"] == "coverage"]
    values, silence = panel["fieldConfig"]["defaults"]["mappings"]
    assert {level: word["text"] for level, word in values["options"].items()} == {
        "-1": "fail",
        "0": "unknown",
        "1": "pass",
    }
    assert silence["options"]["result"]["text"] == "unknown"
    assert silence["options"]["match"] == "null"


def test_every_criterion_has_its_limit_drawn(counted_plan: Plan) -> None:
    """The line lies where the alert's limit does, in the panel's unit."""
    drawn = {
        panel["title"].partition(":")[0]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"]
        for panel in _panels(_documents(counted_plan)[0])
        if "thresholds" in panel["fieldConfig"]["defaults"]
    }
    limits = {"accuracy": 0.9, "coverage": 0.9, "latency": 0.01, "median": 0.5, "errors": 0.01, "input-drift": 0.1}
    assert drawn == limits


def test_every_panel_says_what_it_shows(make_plan: PlanMaker) -> None:
    """Unit, description, query and legend: nobody has to guess what a number means."""
    for document in _documents(make_plan()):
        for panel in _panels(document):
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["description"].endswith(".")
            assert all(target["expr"] and target["legendFormat"] for target in panel["targets"])


def test_every_alert_is_a_click_away_from_its_runbook(make_plan: PlanMaker) -> None:
    """The links of the panels lead to each runbook but that of the machine's own alert, at the plan's address."""
    plan = make_plan(monitoring={"notify": {"runbooks": "https://pages.example.org/runbooks/"}})
    links = {
        link["url"] for document in _documents(plan) for panel in _panels(document) for link in panel.get("links", [])
    }
    wanted = {
        f"https://pages.example.org/runbooks/{kind}.md" for kind in AlertKind if kind is not AlertKind.RETRAIN_DUE
    }
    assert links == wanted


def test_runbooks_name_panels_that_exist() -> None:
    """What a runbook sets in italics is the title of a panel, a row or a board of ours."""
    committed = [json.loads(path.read_text()) for path in (ROOT / "monitoring" / "dashboards").glob("*.json")]
    titles = {panel["title"] for document in committed for panel in document["panels"]}
    titles |= {document["title"].partition(": ")[2] for document in committed}
    for page in (ROOT / "docs" / "runbooks").glob("*.md"):
        named = re.findall(r"(?<![*\w])\*([^*]+)\*(?![*\w])", page.read_text())
        assert {" ".join(each.split()) for each in named} <= titles, page.name


def test_no_two_panels_of_a_board_overlap(make_plan: PlanMaker) -> None:
    """Every panel lies inside the grid and on its own."""
    for document in _documents(make_plan()):
        boxes = [panel["gridPos"] for panel in document["panels"]]
        assert all(box["x"] + box["w"] <= 24 for box in boxes)
        for a, b in combinations(boxes, 2):
            beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            assert beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]


def test_identifiers_are_stable_and_fit_grafana(make_plan: PlanMaker) -> None:
    """A board replaces itself; another board's or plan's is another one; at most 40 characters."""
    assert render_boards(make_plan()) == render_boards(make_plan())
    names = [board.name for board in boards(make_plan())]
    uids = {board_uid(plan, board) for plan in ("parcels", "digits", "p" * 42) for board in names}
    assert len(uids) == 3 * len(names)
    assert max(map(len, uids)) <= 40
    for document in _documents(make_plan()):
        identifiers = [panel["id"] for panel in document["panels"]]
        assert len(set(identifiers)) == len(identifiers)


@pytest.mark.parametrize("name", WATCHED)
def test_the_committed_boards_are_those_of_their_plan(name: str) -> None:
    """`make generate` would change nothing."""
    plan = load_plan(ROOT / "examples" / name / "plan.yaml")
    for file, text in render_boards(plan).items():
        assert (ROOT / "monitoring" / "dashboards" / file).read_text() == text


def test_grafana_finds_data_and_boards_without_a_click() -> None:
    """The provisioning files name a Prometheus and the folder that the boards are mounted at."""
    files = {path: yaml.safe_load(text) for path, text in render_provisioning().items()}
    (source,) = files["provisioning/datasources/sextant.yaml"]["datasources"]
    (provider,) = files["provisioning/dashboards/sextant.yaml"]["providers"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    assert provider["options"]["path"] == BOARDS_FOLDER


def test_without_receivers_alerts_still_have_their_routes(make_plan: PlanMaker) -> None:
    """A plan that names nobody gives a configuration that Alertmanager loads."""
    config = alertmanager_config(make_plan())
    assert all(set(receiver) == {"name"} for receiver in config["receivers"])
    assert {route["receiver"] for route in config["route"]["routes"]} <= {each["name"] for each in config["receivers"]}
