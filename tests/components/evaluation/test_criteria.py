"""How evidence becomes a verdict on one criterion: pass, fail, or unknown with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sextant_components.evaluation.criteria import (
    Evidence,
    answer,
    answers_of,
    beats_baseline,
    groups_behind,
    without_champion,
)
from sextant_components.evaluation.robustness import stranger_areas
from sextant_components.evaluation.server_probe import Probe
from sextant_components.evidence.gates import Settled, record_criterion, unavailable
from sextant_components.evidence.metrics import Answers
from sextant_components.runs.context import RunContext, Step
from sextant_plan.catalogue.metrics import METRICS
from sextant_plan.ledger import Record
from sextant_plan.schema import Criterion
from sextant_plan.verdicts import Estimate, Verdict

ROWS = 200
OpenRun = Callable[..., RunContext]


@pytest.fixture
def context(tmp_path: Path, open_run_at: OpenRun) -> RunContext:
    """A run whose ledger can be written."""
    return open_run_at(tmp_path / "r1", home=tmp_path / "home")


@pytest.fixture
def evidence(context: RunContext) -> Evidence:
    """Every fifth row is wrong; the first hundred rows are by day; a server that took 1 to 30 ms."""
    labels = np.arange(ROWS) % 3
    predicted = np.where(np.arange(ROWS) % 5 == 0, (labels + 1) % 3, labels)
    probabilities = np.full((ROWS, 3), 0.1, dtype=np.float32)
    probabilities[np.arange(ROWS), predicted] = 0.8
    right = predicted == labels
    return Evidence(
        plan=context.plan,
        classes=["cross", "flat", "tall"],
        answers=Answers(probabilities, labels),
        slices={"light": ["day"] * 100 + ["night"] * 100},
        others={"baseline": np.zeros(ROWS, dtype=np.bool_), "champion": without_champion()},
        corrupted={"dark": right, "noise": np.zeros(ROWS, dtype=np.bool_)},
        probe=Probe([float(1 + number % 30) for number in range(30)], 0, [probabilities[0]] * 30),
    )


def _in_groups(evidence: Evidence) -> Evidence:
    """Return the evidence with rows of one label and one answer in one group, of which there are fifteen."""
    assert isinstance(evidence.answers, Answers)
    groups = np.arange(ROWS) % 15
    return replace(evidence, answers=replace(evidence.answers, groups=groups))


def _record(context: RunContext, evidence: Evidence, **criterion: Any) -> Record:
    made = Criterion.model_validate({"id": "c", "min_n": 20, **criterion})
    with context.ledger(Step.EVALUATE) as ledger:
        return record_criterion(ledger, made, answer(made, evidence), groups=groups_behind(made, evidence))


BY_ROW = [
    {"metric": "accuracy", "at_least": 0.7},
    {"metric": "accuracy", "at_least": 0.7, "slice": "light=day"},
    {"metric": "accuracy", "at_least": 0.5, "relative_to": "baseline"},
    {"metric": "recall_min", "at_least": 0.9},
    {"metric": "macro_f1", "at_least": 0.7},
    {"metric": "coverage", "at_least": 0.95},
    {"metric": "net_value", "at_least": 1.0},
    {"metric": "accuracy_gap", "at_most": 0.2, "slice": "light"},
    {"metric": "corrupted_accuracy", "at_least": 0.5},
]
"""Criteria on the metrics that count the rows of the fixture's evidence; each passes or fails by them."""


@pytest.mark.parametrize(
    ("criterion", "verdict"),
    [
        pytest.param({"metric": "accuracy", "at_least": 0.7}, Verdict.PASS, id="bound-above"),
        pytest.param({"metric": "accuracy", "at_least": 0.9}, Verdict.FAIL, id="proved-below"),
        pytest.param({"metric": "accuracy", "at_least": 0.8}, Verdict.UNKNOWN, id="value-on-the-limit"),
        pytest.param({"metric": "accuracy", "at_least": 0.7, "min_n": 201}, Verdict.UNKNOWN, id="too-few-rows"),
        pytest.param({"metric": "accuracy", "at_least": 0.7, "slice": "light=day"}, Verdict.PASS, id="slice"),
        pytest.param({"metric": "accuracy", "at_least": 0.1, "slice": "light=dusk"}, Verdict.UNKNOWN, id="no-such-row"),
        pytest.param({"metric": "accuracy", "at_least": 0.5, "relative_to": "baseline"}, Verdict.PASS, id="baseline"),
        pytest.param(
            {"metric": "accuracy", "at_least": 0, "relative_to": "champion"}, Verdict.PASS, id="first-release"
        ),
        pytest.param({"metric": "recall_min", "at_least": 0.9}, Verdict.FAIL, id="worst-class"),
        pytest.param({"metric": "macro_f1", "at_least": 0.7}, Verdict.PASS, id="macro-f1"),
        pytest.param({"metric": "calibration_error", "at_most": 0.1}, Verdict.PASS, id="calibration"),
        pytest.param({"metric": "coverage", "at_least": 0.95}, Verdict.PASS, id="coverage"),
        pytest.param({"metric": "net_value", "at_least": 1.0}, Verdict.PASS, id="net-value"),
        pytest.param({"metric": "accuracy_gap", "at_most": 0.2, "slice": "light"}, Verdict.PASS, id="gap"),
        pytest.param({"metric": "corrupted_accuracy", "at_least": 0.5}, Verdict.FAIL, id="worst-corruption"),
        pytest.param({"metric": "latency_p50_ms", "at_most": 40}, Verdict.PASS, id="median"),
        pytest.param({"metric": "latency_p99_ms", "at_most": 40}, Verdict.UNKNOWN, id="p99-of-30-requests"),
        pytest.param({"metric": "error_rate", "at_most": 0.2}, Verdict.PASS, id="no-errors"),
    ],
)
def test_each_metric_is_judged_by_its_bound(
    context: RunContext, evidence: Evidence, criterion: dict[str, Any], verdict: Verdict
) -> None:
    """The bound decides and not the value; what cannot be bounded is unknown."""
    assert _record(context, evidence, **criterion).verdict is verdict


@pytest.mark.parametrize(
    "criterion",
    [*BY_ROW, {"metric": "latency_p50_ms", "at_most": 40}, {"metric": "error_rate", "at_most": 0.2}],
    ids=lambda criterion: "-".join(str(each) for each in criterion.values()),
)
def test_the_criterions_own_confidence_sets_how_far_the_bounds_lie(
    context: RunContext, evidence: Evidence, criterion: dict[str, Any]
) -> None:
    """Whoever asks for more certainty gets a wider interval around the same value, of every metric."""
    surer, bolder = (_record(context, evidence, **criterion, confidence=level) for level in (0.99, 0.8))
    assert surer.value == bolder.value
    assert surer.interval != bolder.interval
    (lowest, highest), (low, high) = (np.asarray(each.interval, dtype=np.float64) for each in (surer, bolder))
    assert lowest <= low <= float(surer.value) <= high <= highest


@pytest.mark.parametrize("criterion", BY_ROW, ids=lambda criterion: "-".join(str(each) for each in criterion.values()))
def test_fifteen_groups_of_alike_rows_prove_no_more_than_fifteen_rows(
    context: RunContext, evidence: Evidence, criterion: dict[str, Any]
) -> None:
    """Whatever the metric: the value is that of the rows, the bounds are wider, and `min_n` counts no row twice."""
    alone = _record(context, evidence, **criterion)
    record = _record(context, _in_groups(evidence), **criterion)
    assert record.value == pytest.approx(alone.value)
    assert record.n is not None
    assert record.n <= 15
    assert record.verdict is not Verdict.PASS
    (low, high), (inner_low, inner_high) = (np.asarray(each.interval, float) for each in (record, alone))
    assert low <= inner_low <= inner_high <= high
    assert (low, high) != (inner_low, inner_high)
    rows = 100 if "light=" in str(criterion.get("slice")) else ROWS
    assert f"on what {rows} rows in 15 groups are worth" in record.qa_method
    assert "groups" not in alone.qa_method


def test_requests_are_no_rows_of_groups(context: RunContext, evidence: Evidence) -> None:
    """How often the server was asked does not hang on how the rows are related."""
    for metric in ("error_rate", "latency_p50_ms"):
        one, other = (_record(context, each, metric=metric, at_most=40) for each in (evidence, _in_groups(evidence)))
        assert (one.interval, one.n, one.qa_method) == (other.interval, other.n, other.qa_method)


def test_an_unknown_says_why(context: RunContext, evidence: Evidence) -> None:
    """A slice without rows, a column with nothing to compare and a server that did not start are named."""
    reasons = [_record(context, evidence, metric="accuracy", at_least=0.5, slice="light=dusk").value]
    alike = Evidence(**{**vars(evidence), "slices": {"light": ["day"] * ROWS}})
    reasons.append(_record(context, alike, metric="accuracy_gap", at_most=0.2, slice="light").value)
    stopped = Evidence(**{**vars(evidence), "probe": unavailable("the server did not start (exit code 4)")})
    reasons.append(_record(context, stopped, metric="error_rate", at_most=0.2).value)
    assert reasons == [
        "no sealed row has light=dusk",
        "the sealed rows have fewer than two values of light",
        "the server did not start (exit code 4)",
    ]


def test_a_bound_that_does_not_exist_takes_nothing_else_away(context: RunContext, evidence: Evidence) -> None:
    """A percentile of too few requests keeps its value and its lower bound, which may disprove it already."""
    record = _record(context, evidence, metric="latency_p99_ms", at_most=5)
    assert record.verdict is Verdict.FAIL
    assert (record.value, record.interval, record.n) == (30.0, (29.0, None), 30)


def test_a_difference_names_its_own_bound(context: RunContext, evidence: Evidence) -> None:
    """The evidence says how it was bounded, and a paired difference is not bounded as a share is."""
    record = _record(context, evidence, metric="accuracy", at_least=0.5, relative_to="baseline")
    assert "Tango 1998" in record.qa_method


def test_a_slice_is_compared_with_the_champion_on_its_own_rows(context: RunContext, evidence: Evidence) -> None:
    """A champion that knows the nights alone is beaten by day, and not by night."""
    night = np.arange(ROWS) >= 100
    changed = Evidence(**{**vars(evidence), "others": {"champion": night}})
    limit = {"metric": "accuracy", "at_least": 0.0, "relative_to": "champion"}
    by_night, by_day = (_record(context, changed, **limit, slice=f"light={light}") for light in ("night", "day"))
    assert (by_night.value, by_night.n, by_night.verdict) == (pytest.approx(-0.2), 100, Verdict.FAIL)
    assert (by_day.value, by_day.n, by_day.verdict) == (pytest.approx(0.8), 100, Verdict.PASS)


def test_of_strangers_the_kind_that_is_told_worst_judges(context: RunContext, evidence: Evidence) -> None:
    """Each kind has to lie above the limit to pass; that any lies below is a choice among them, and corrected."""
    generator, asked = np.random.default_rng(3), list[float]()
    known, made = (
        generator.normal(1.5, 1, 200),
        {"near": generator.normal(1, 1, 200), "far": generator.normal(0, 1, 200)},
    )

    def areas(confidence: float) -> dict[str, Estimate]:
        asked.append(confidence)
        return stranger_areas(known, made, confidence)

    near, surer = stranger_areas(known, made, 0.95)["near"], stranger_areas(known, made, 0.975)["near"]
    record = _record(context, replace(evidence, strangers=areas), metric="stranger_auroc", at_least=0.8)
    assert (record.value, record.interval) == (near.value, (near.low, surer.high))
    assert asked == [0.95, 0.975]
    assert record.verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("probe", "verdicts"),
    [
        pytest.param(Probe([1.0] * 30, 30, [None] * 30), (Verdict.UNKNOWN, Verdict.FAIL), id="all-failed"),
        pytest.param(Probe([], 0, [None] * 30, unserved=30), (Verdict.UNKNOWN, Verdict.UNKNOWN), id="none-served"),
        pytest.param(Probe([1.0] * 29, 0, [None] * 30, refused=[429]), (Verdict.UNKNOWN, Verdict.UNKNOWN), id="busy"),
    ],
)
def test_a_server_without_answers_is_not_fast(
    context: RunContext, evidence: Evidence, probe: Probe, verdicts: tuple[Verdict, Verdict]
) -> None:
    """Failures count as errors; what was refused or could not be served says neither this nor that."""
    changed = replace(evidence, probe=probe)
    latency = _record(context, changed, metric="latency_p50_ms", at_most=40)
    errors = _record(context, changed, metric="error_rate", at_most=0.2)
    assert (latency.verdict, errors.verdict) == verdicts


def test_rows_that_the_plan_rejects_for_want_of_features_count_neither_way(
    context: RunContext, evidence: Evidence
) -> None:
    """The answered ones judge, and there must be enough of them."""
    answers = [np.zeros(3, np.float32)] * 25 + [None] * 5
    probe = Probe([1.0] * 25, 0, answers, unserved=5)
    found = _record(context, replace(evidence, probe=probe), metric="latency_p50_ms", at_most=40)
    assert (found.verdict, found.n) == (Verdict.PASS, 25)
    few = Probe([1.0] * 15, 0, answers[:15] + [None] * 15, unserved=15)
    found = _record(context, replace(evidence, probe=few), metric="latency_p50_ms", at_most=40)
    assert (found.verdict, found.n) == (Verdict.UNKNOWN, 15)


def test_a_first_release_says_that_there_was_no_champion(context: RunContext, evidence: Evidence) -> None:
    """The pass names its reason, so that nobody takes it for a comparison."""
    record = _record(context, evidence, metric="accuracy", at_least=0.0, relative_to="champion")
    assert str(record.value).startswith("no champion")
    assert record.interval is None


def test_an_incomparable_champion_is_unknown(context: RunContext, evidence: Evidence) -> None:
    """A champion that cannot be run on the rows gives no evidence, unlike an absent one."""
    others = {**evidence.others, "champion": Settled(Verdict.UNKNOWN, "the champion reads weight")}
    changed = Evidence(**{**vars(evidence), "others": others})
    record = _record(context, changed, metric="accuracy", at_least=-1.0, relative_to="champion")
    assert record.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("changes", "asks"),
    [
        pytest.param({}, True, id="none-at-all"),
        pytest.param({"at_least": 0.1}, True, id="by-a-margin"),
        pytest.param({"at_least": -0.05}, False, id="a-little-worse-is-enough"),
        pytest.param({"slice": "light=day"}, False, id="on-some-rows"),
        pytest.param({"relative_to": "champion"}, False, id="another-opponent"),
        pytest.param({"relative_to": None}, False, id="no-opponent"),
        pytest.param({"metric": "mae", "at_least": None, "at_most": -1.0}, True, id="a-smaller-error"),
        pytest.param({"metric": "mae", "at_least": None, "at_most": 2.0}, False, id="a-larger-error-is-enough"),
        pytest.param({"enforce": ["alert"]}, False, id="not-a-gate"),
    ],
)
def test_a_plan_asks_for_a_model_that_beats_the_baseline(changes: dict[str, Any], asks: bool) -> None:
    """By a gate on all rows that nothing but a gain can pass; else the step asks of itself."""
    asked = {"id": "c", "metric": "accuracy", "at_least": 0.0, "relative_to": "baseline", **changes}
    assert beats_baseline(Criterion.model_validate(asked)) is asks


def test_every_metric_of_the_step_has_its_answer() -> None:
    """The catalogue and this step name the same metrics, so no criterion falls through."""
    answered = set(answers_of("class")) | set(answers_of("number"))
    assert answered == {name for name, metric in METRICS.items() if metric.step == Step.EVALUATE}
