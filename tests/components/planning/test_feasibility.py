"""The deeper half of the feasibility study: what more rows bring, what no model can reach, what it costs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sextant_components.data.sources import read_source
from sextant_components.planning.feasibility import resources
from sextant_components.planning.feasibility.bayes_error import least_error
from sextant_components.planning.feasibility.capacity import capacity
from sextant_components.planning.feasibility.learning_curve import extrapolate
from sextant_components.planning.plan import run_plan, study_of
from sextant_plan.verdicts import Verdict

pytestmark = pytest.mark.usefixtures("load_already_measured")
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@given(
    floor=st.floats(0, 0.3),
    slope=st.floats(0.1, 2),
    decay=st.sampled_from([0.3, 0.5, 1.0]),
    rows=st.integers(1000, 9000),
)
def test_a_power_law_is_found_again(floor: float, slope: float, decay: float, rows: int) -> None:
    """Errors that follow a law of the family are extrapolated exactly."""
    sizes = np.asarray([40, 80, 160, 320, 640])
    errors = floor + slope * sizes.astype(np.float64) ** -decay
    expected = min(1.0, floor + slope * rows**-decay)
    assert extrapolate(sizes, errors[None, :], [rows])[0, 0] == pytest.approx(expected, abs=1e-6)


def test_a_curve_that_rises_by_chance_is_taken_as_flat() -> None:
    """More rows never make the law worse: coefficients are not negative."""
    sizes = np.asarray([40, 80, 160, 320])
    ahead = extrapolate(sizes, np.asarray([[0.1, 0.11, 0.12, 0.13]]), [1000, 2000])
    assert ahead[0, 0] == pytest.approx(ahead[0, 1]) == pytest.approx(0.115)


@given(error=st.floats(0, 1), classes=st.integers(2, 40))
def test_the_bound_of_cover_and_hart(error: float, classes: int) -> None:
    """At the bound the nearest neighbour errs by R (2 - k/(k - 1) R); R is between half of that and all of it."""
    chance = (classes - 1) / classes
    bound = least_error(error, classes)
    if error <= chance:
        assert bound * (2 - bound / chance) == pytest.approx(error, abs=1e-9)
        assert error / 2 - 1e-9 <= bound <= error + 1e-9
    else:
        assert bound == pytest.approx(chance)


def test_labels_at_random_put_a_ceiling_on_accuracy(workshop: Any, records: Any) -> None:
    """No model reaches a limit above chance, and no space betrays a row's own label."""
    rng = np.random.default_rng(1)
    for row, kind in enumerate(rng.choice(["dim", "grey", "pale"], 60)):
        workshop.replace("kind", row, str(kind))
    context = workshop.open()
    run_plan(context)
    record = records(context, "plan")["feasibility: bayes error"]
    assert record.value["nearest_neighbour_error"] > 0.4
    assert record.value["accuracy_at_most"] < 0.9


def test_the_learning_curve_is_kept_as_numbers(workshop: Any, records: Any) -> None:
    """Measured points and two extrapolated ones, each with its bounds, as an artifact that the dossier draws."""
    context = workshop.open()
    assert run_plan(context) is Verdict.PASS
    record = records(context, "plan")["feasibility: learning curve"]
    points = json.loads(context.artifacts.read_bytes(record.artifacts["learning_curve.json"]))
    assert [point["extrapolated"] for point in points][-3:] == [False, True, True]
    assert all(point["low"] <= point["high"] for point in points)
    assert record.value["gain_of_twice_the_rows"]["high"] < 0.1


def test_the_rate_of_arrival_comes_from_the_timestamps(workshop: Any, records: Any) -> None:
    """One row an hour for sixty hours; a gate that needs twice its rows waits until there are twice as many."""
    workshop.plan["criteria"][0]["min_n"] = 30
    context = workshop.open()
    run_plan(context)
    arrival = records(context, "plan")["feasibility: data availability"].value["arrival"]
    assert arrival["rows_a_day"] == pytest.approx(60 / (59 / 24), abs=0.01)
    assert arrival["days_until_enough"] == pytest.approx(59 / 24, abs=0.06)


def _age(workshop: Any, *, rows: int, drifting: bool) -> None:
    """Give the table `rows` rows of two shades, one an hour; if `drifting`, ever more of the newest change."""
    rng = np.random.default_rng(2)
    columns: dict[str, list[Any]] = {name: [] for name in workshop.table.columns}
    for row in range(rows):
        pale = row % 2
        moved = drifting and rng.uniform() < max(0.0, 2 * row / rows - 1)
        values = {
            "image": f"{row // 2 % 20 * 3 + 2 * pale:03d}.png", "item": f"I-{row:03d}", "batch": f"B-{row}",
            "seen": (NOON + timedelta(hours=row)).isoformat(), "site": "north", "weight": 1.5,
            "kind": ("dim", "pale")[pale ^ moved],
        }  # fmt: skip
        for name, value in values.items():
            columns[name].append(value)
    workshop.table = pl.DataFrame(columns)


def test_a_model_of_steady_data_may_grow_old(workshop: Any, records: Any) -> None:
    """No accuracy is lost over the days seen: pass, and the curve by age is kept as numbers."""
    _age(workshop, rows=480, drifting=False)
    context = workshop.open()
    run_plan(context)
    record = records(context, "plan")["feasibility: staleness"]
    assert record.verdict is Verdict.PASS
    assert record.value["days_seen"] == pytest.approx(10, abs=0.1)
    points = json.loads(context.artifacts.read_bytes(record.artifacts["staleness.json"]))
    assert [point["rows"] for point in points] == [60] * 4
    assert [point["age_days"] for point in points] == sorted(point["age_days"] for point in points)


def test_a_model_of_drifting_data_is_told_how_old_it_may_become(workshop: Any, records: Any) -> None:
    """The newest labels have moved: a loss a day is proved, and few days are supported."""
    _age(workshop, rows=480, drifting=True)
    context = workshop.open()
    run_plan(context)
    record = records(context, "plan")["feasibility: staleness"]
    assert record.verdict is Verdict.UNKNOWN
    assert record.value["loss_a_day"]["low"] > 0
    assert record.value["days_supported"] < 2


def test_an_age_beyond_the_days_seen_is_not_proved(workshop: Any, records: Any) -> None:
    """Ten days of steady data say nothing of thirty, which is what the plan allows."""
    _age(workshop, rows=480, drifting=False)
    workshop.plan["criteria"].append({"id": "age", "metric": "model_age_days", "at_most": 30, "enforce": ["alert"]})
    context = workshop.open()
    run_plan(context)
    record = records(context, "plan")["feasibility: staleness"]
    assert (record.verdict, record.value["age_allowed_days"]) == (Verdict.UNKNOWN, 30)


def test_rows_without_times_have_no_age(workshop: Any, records: Any) -> None:
    """There is nothing to order them by, so nothing is recorded."""
    del workshop.plan["data"]["timestamp"]
    context = workshop.open()
    run_plan(context)
    assert "feasibility: staleness" not in records(context, "plan")


def test_cost_and_benefit_have_an_interval(workshop: Any, records: Any) -> None:
    """The baseline's accuracy is uncertain, so is the gain; training is paid for once in each cooldown."""
    workshop.plan["goal"]["economics"] = {
        "value_per_correct": 1, "cost_per_error": 1, "predictions_per_day": 100, "cost_per_training": 10,
    }  # fmt: skip
    context = workshop.open()
    run_plan(context)
    value = records(context, "plan")["cost-benefit"].value
    low, high = value["gain_interval"]
    assert low < value["gain_a_day"] < high
    assert value["training_a_day_at_most"] == 10
    assert value["days_to_break_even"][0] < value["days_to_break_even"][1]


def test_a_gain_that_may_be_none_is_not_proved(workshop: Any, records: Any) -> None:
    """A limit a little above the baseline: the interval holds zero, and the verdict is unknown."""
    workshop.plan["criteria"][0]["at_least"] = 0.36
    workshop.plan["goal"]["economics"] = {"value_per_correct": 1, "cost_per_error": 1, "predictions_per_day": 100}
    context = workshop.open()
    run_plan(context)
    assert records(context, "plan")["cost-benefit"].verdict is Verdict.UNKNOWN


def test_a_planned_corruption_is_tried_on_a_quick_model(workshop: Any, records: Any) -> None:
    """Clean and corrupted accuracy stand beside each other; the record informs."""
    workshop.plan["evaluation"]["corruptions"] = ["noise", "dark"]
    context = workshop.open()
    run_plan(context)
    accuracy = records(context, "plan")["feasibility: corruption pre-test"].value["accuracy"]
    assert accuracy.keys() == {"clean", "noise", "dark"}
    assert accuracy["clean"] > 0.5


@pytest.mark.parametrize("approvers", [["one", "one"], ["one", " "]], ids=["twice", "empty"])
def test_a_role_that_nobody_fills_fails(workshop: Any, records: Any, approvers: list[str]) -> None:
    """Two approvers are two people with names."""
    workshop.plan["owner"]["approvers"] = approvers
    context = workshop.open()
    assert run_plan(context) is Verdict.FAIL
    assert "owner.approvers" in records(context, "plan")["feasibility: resources"].value["problems"][0]


@pytest.mark.parametrize(
    ("risk", "roles", "verdict", "vacant"),
    [
        pytest.param("minimal", {}, Verdict.PASS, [], id="none asked for"),
        pytest.param("limited", {"data": "ada", "model": "bo"}, Verdict.UNKNOWN, ["operations"], id="one vacant"),
        pytest.param("limited", {"data": "ada", "model": "bo", "operations": "cy"}, Verdict.PASS, [], id="all filled"),
        pytest.param(
            "high", {"data": "ada", "model": "bo", "operations": " "}, Verdict.FAIL, ["compliance"], id="blank"
        ),
    ],
)
def test_the_risk_class_asks_for_named_roles(
    workshop: Any, risk: str, roles: dict[str, str], verdict: Verdict, vacant: list[str]
) -> None:
    """A role that nobody is named for is unknown, one that is named by nothing fails."""
    workshop.plan["goal"]["risk_class"] = risk
    workshop.plan["owner"]["roles"] = roles
    context = workshop.open()
    heading = resources.assess(study_of(context, read_source(context.plan, context.data_root, context.home)))
    assert (heading.verdict, heading.value["vacant_roles"]) == (verdict, vacant)


NODES = {
    "kind": "NodeList",
    "apiVersion": "v1",
    "metadata": {},
    "items": [
        {
            "metadata": {"name": name},
            "spec": {"unschedulable": name == "drained"},
            "status": {"allocatable": {"cpu": cpu, "memory": memory, "nvidia.com/gpu": gpu}},
        }
        for name, cpu, memory, gpu in (
            ("small", "1500m", "4Gi", "0"),
            ("large", "15500m", "120Gi", "1"),
            ("drained", "64", "900Gi", "8"),
        )
    ],
}


class Nodes(BaseHTTPRequestHandler):
    """Answers the one call of the Kubernetes API that the study makes."""

    def do_GET(self) -> None:
        body = json.dumps(NODES).encode()
        self.send_response(200 if self.path.startswith("/api/v1/nodes") else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    """A server on a free port that KUBECONFIG names."""
    with HTTPServer(("127.0.0.1", 0), Nodes) as server:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config), encoding="utf-8")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_requests_are_compared_with_the_largest_node(api: HTTPServer) -> None:
    """Quantities are read as Kubernetes writes them; a node that takes no pods does not count."""
    found = capacity()
    assert found is not None
    assert (found.place, found.cpu, found.gpu, found.memory) == ("node large", 15.5, 1, 120 << 30)


def test_a_silent_cluster_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kubeconfig that cannot be used is no reason to compare with this machine instead."""
    (tmp_path / "kubeconfig").write_text("{}", encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    assert capacity() is None
