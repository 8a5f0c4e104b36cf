"""The quick baseline in the real server: what it is, what is asked of it, and what follows from its times."""

from __future__ import annotations

from typing import Any

import pytest

from sextant_components.data.sources import read_source
from sextant_components.planning.feasibility import robustness
from sextant_components.planning.feasibility.load import ServedLoad, serve_quickly
from sextant_components.planning.feasibility.load import assess as assess_load
from sextant_components.planning.feasibility.quick_bundle import quick_bundle
from sextant_components.planning.plan import run_plan, study_of
from sextant_plan.bundle import read_bundle
from sextant_plan.verdicts import Verdict
from sextant_serving.engines import check_golden, load_engine


def _study(workshop: Any) -> Any:
    context = workshop.open()
    return study_of(context, read_source(context.plan, context.data_root, context.home))


def test_the_plans_own_rows_are_answered_by_a_real_server(workshop: Any, records: Any) -> None:
    """Pictures and columns go over the wire; the objective of a thousandth of a millisecond is out of reach."""
    workshop.plan["serving"] = {"latency_slo_ms": 0.001}
    context = workshop.open()
    assert run_plan(context) is Verdict.FAIL
    found = records(context, "plan")
    pretest = found["feasibility: load pre-test"]
    assert pretest.value["requests"] > 0
    assert pretest.value["requests_a_second"] > 0
    assert pretest.verdict is Verdict.UNKNOWN
    assert found["feasibility: robustness and scalability"].value["plausible"] is False


def test_a_table_of_numbers_is_served_too(workshop: Any) -> None:
    """Without pictures and classes the rows go as JSON, and the answer is a number."""
    workshop.plan["model"] = {
        "task": "tabular-regression",
        "inputs": {"columns": ["site"]},
        "candidates": [{"architecture": "linear"}],
    }
    workshop.replace("weight", 7, 10.5)
    workshop.plan["data"]["label"] = "weight"
    del workshop.plan["data"]["columns"]["weight"]
    workshop.plan["goal"] |= {"baseline": {"kind": "mean"}}
    workshop.plan["criteria"] = [{"id": "off", "metric": "mae", "at_most": 2}]
    del workshop.plan["data"]["images"]
    load = serve_quickly(_study(workshop))
    assert load is not None
    assert len(load.milliseconds) > 0


def test_a_picture_that_no_decoder_reads_is_left_to_verification(workshop: Any) -> None:
    """The server refuses it, and the rest is asked."""
    next(iter(sorted((workshop.data / "images").glob("*.png")))).write_bytes(b"no picture")
    load = serve_quickly(_study(workshop))
    assert load is not None
    assert len(load.milliseconds) > 0


def test_the_bundle_is_sealed_and_answers_as_numpy_does(workshop: Any, tmp_path: Any) -> None:
    """ONNX Runtime gives the golden answers, which are the regression's own."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    quick_bundle(_study(workshop), folder)
    spec = read_bundle(folder)
    check_golden(load_engine(folder, spec), folder, spec)


TIMES = [10.0] * 280 + [200.0] * 20


@pytest.mark.parametrize(
    ("slo", "per_day", "verdict", "informs"),
    [
        pytest.param(500, 1000, Verdict.PASS, Verdict.PASS, id="in reach"),
        pytest.param(100, 1000, Verdict.PASS, Verdict.UNKNOWN, id="one in fifteen is late"),
        pytest.param(5, 1000, Verdict.FAIL, Verdict.UNKNOWN, id="even the median is late"),
        pytest.param(500, 10**7, Verdict.FAIL, Verdict.PASS, id="more requests than the cores carry"),
    ],
)
def test_times_and_load_are_held_against_the_plan(
    workshop: Any, slo: float, per_day: int, verdict: Verdict, informs: Verdict
) -> None:
    """280 requests of 10 ms, 20 of 200 ms, and 100 requests a second on each of two cores."""
    workshop.plan["serving"] = {"latency_slo_ms": slo, "hardware": {"cpu": 2}}
    workshop.plan["goal"]["economics"] = {"value_per_correct": 1, "cost_per_error": 1, "predictions_per_day": per_day}
    study, served = _study(workshop), ServedLoad(TIMES, 100.0)
    assert robustness.assess(study, served).verdict is verdict
    assert assess_load(study, served).verdict is informs


def test_a_server_that_takes_no_row_leaves_the_load_unknown(workshop: Any) -> None:
    """Nothing was measured, so nothing is claimed."""
    study = _study(workshop)
    assert robustness.assess(study, None).verdict is Verdict.UNKNOWN
    assert assess_load(study, None).verdict is Verdict.UNKNOWN
