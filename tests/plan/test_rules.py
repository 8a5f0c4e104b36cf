"""Rules compiled from a plan: which there are, and what they say of a window."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import binom, chi2, chisquare, norm

from sextant_plan.bounds import proportion
from sextant_plan.catalogue import FEATURE_BINS, READY, REFERENCE_RATIO
from sextant_plan.consistency import inconsistencies
from sextant_plan.drift_rule import DriftRule, FeatureDrift, feature_drift
from sextant_plan.errors import UsageError
from sextant_plan.presence_rules import ReadyRule
from sextant_plan.quality_rule import QualityRule
from sextant_plan.reference import stability_index
from sextant_plan.rules import compile_rules, retrain_alerts
from sextant_plan.schema import Burn, Plan
from sextant_plan.share_rule import ShareRule, chernoff
from sextant_plan.verdicts import Estimate, Verdict
from sextant_plan.window import Sample, Selector, Window, bucket_edge, promql_duration

TARGET = {"model": "parcels", "version": "1", "variant": "stable"}


def _plan(*criteria: dict[str, Any], **parts: Any) -> Plan:
    return Plan.model_validate(
        {
            "name": "parcels",
            "owner": {"team": "warehouse", "approvers": ["operations"]},
            "goal": {"business": "Sort parcels.", "why_ml": "Nobody can write the rules down."},
            "criteria": list(criteria),
            "data": {
                "source": "data",
                "table": "table.csv",
                "licence": {"name": "CC0-1.0", "source": "made up", "allows_training": True},
                "consent": {"basis": "no persons"},
            },
            "model": {
                "task": "tabular-classification",
                "inputs": {"columns": ["weight"]},
                "candidates": [{"architecture": "linear"}],
            },
            **parts,
        }
    )


def _rule(criterion: dict[str, Any], **parts: Any) -> Any:
    (rule,) = [rule for rule in compile_rules(_plan(criterion, **parts)) if rule.criterion is not None]
    return rule


def _window(*samples: tuple[str, dict[str, str], float], ready: float | None = 1.0) -> Window:
    listed = [Sample(name, {**TARGET, **labels}, value) for name, labels, value in samples]
    if ready is not None:
        listed.append(Sample(READY.name, TARGET, ready))
    return Window(tuple(listed))


def _errors(bad: int, good: int) -> Window:
    return _window(("sextant_requests_total", {"code": "500"}, bad), ("sextant_requests_total", {"code": "200"}, good))


ERRORS = {"id": "errors", "metric": "error_rate", "at_most": 0.01, "enforce": ["gate", "alert"]}
COVERAGE = {"id": "coverage", "metric": "coverage", "at_least": 0.9, "enforce": ["alert"]}
DRIFT = {"id": "drift", "metric": "input_psi", "at_most": 0.1, "enforce": ["alert", "retrain"]}


def test_only_criteria_that_alert_or_retrain_become_rules() -> None:
    """A criterion enforced by gate alone stays with the gates; a ready server is always watched."""
    gate = {"id": "accuracy", "metric": "accuracy", "at_least": 0.9}
    plan = _plan(gate, ERRORS, {**gate, "id": "live", "enforce": ["retrain"]})
    assert [rule.criterion.id for rule in compile_rules(plan) if rule.criterion] == ["errors", "live"]
    assert isinstance(compile_rules(plan)[0], ReadyRule)


def test_a_criterion_that_only_retrains_wakes_nobody() -> None:
    """Live accuracy is recorded and starts a machine; without `alert` it has no alert of its own."""
    plan = _plan({"id": "live", "metric": "accuracy", "at_least": 0.9, "enforce": ["retrain"]})
    (rule,) = [rule for rule in compile_rules(plan) if rule.criterion]
    assert rule.alerts() == []
    assert [alert.labels["criterion"] for alert in retrain_alerts(plan)] == ["live"]


def test_what_production_cannot_tell_is_refused() -> None:
    """A live rule on a paired difference would silently judge something else."""
    paired = {"id": "live", "metric": "accuracy", "at_least": 0.9, "enforce": ["retrain"], "relative_to": "baseline"}
    with pytest.raises(UsageError, match=r"criterion live: nothing in production answers for the baseline"):
        compile_rules(_plan(paired))


def test_a_slice_is_judged_by_joined_labels() -> None:
    """The server's counters know no slices; the exporter's labels do."""
    sliced = {"id": "thin", "metric": "accuracy", "at_least": 0.9, "enforce": ["alert"], "slice": "stroke=thin"}
    assert isinstance(_rule(sliced), QualityRule)


def test_a_failure_mode_names_an_alert_that_exists() -> None:
    """A mode whose alert is misspelt would never be noticed; the error lists what may be named."""
    mode = {"mode": "slow", "fallback": "wait", "recover_within": "60s", "alert": "latensy"}
    with pytest.raises(UsageError, match=r"no alert is called latensy\. Choose from: errors, no-ready-server"):
        compile_rules(_plan(ERRORS, failure=[mode]))


@pytest.mark.parametrize(
    ("bad", "good", "verdict"),
    [
        pytest.param(0, 298, Verdict.UNKNOWN, id="one short of proof"),
        pytest.param(0, 299, Verdict.PASS, id="just proved"),
        pytest.param(1, 299, Verdict.UNKNOWN, id="within the limit but not proved"),
        pytest.param(20, 980, Verdict.FAIL, id="proved beyond"),
        pytest.param(3, 4, Verdict.FAIL, id="proved beyond on few rows"),
        pytest.param(0, 0, Verdict.UNKNOWN, id="silence"),
    ],
)
def test_an_alert_needs_proof_and_a_pass_does_too(bad: int, good: int, verdict: Verdict) -> None:
    """An error rate of at most 1 % at 95 % confidence."""
    (reading,) = _rule(ERRORS).read(_errors(bad, good))
    assert reading.verdict is verdict


def test_a_server_that_is_not_there_has_no_reading() -> None:
    """Without its readiness gauge a target is unknown to every criterion; the readiness rule fails instead."""
    presence, errors = compile_rules(_plan(ERRORS))[:2]
    assert errors.read(_window(ready=None)) == []
    assert [reading.verdict for reading in presence.read(_window(ready=None))] == [Verdict.FAIL]
    assert [reading.verdict for reading in presence.read(_window(ready=0.0))] == [Verdict.FAIL]
    assert [reading.verdict for reading in presence.read(_window())] == [Verdict.PASS]


def test_variants_are_judged_apart() -> None:
    """A challenger's errors are not diluted by the champion's traffic."""
    champion = _errors(0, 10_000).samples
    labels = {**TARGET, "variant": "challenger"}
    challenger = tuple(
        Sample(name, {**labels, **more}, value)
        for name, more, value in (
            (READY.name, {}, 1.0),
            ("sextant_requests_total", {"code": "500"}, 30.0),
            ("sextant_requests_total", {"code": "200"}, 270.0),
        )
    )
    readings = _rule(ERRORS).read(Window(champion + challenger))
    assert {reading.target[2]: str(reading.verdict) for reading in readings} == {"challenger": "fail", "stable": "pass"}


@pytest.mark.parametrize(
    ("missing", "verdict"),
    [pytest.param("default", Verdict.PASS, id="default"), pytest.param("abstain", Verdict.FAIL, id="abstain")],
)
def test_a_row_without_features_is_covered_only_if_it_is_answered(missing: str, verdict: Verdict) -> None:
    """Coverage follows what the plan does with such a row."""
    rule = _rule(COVERAGE, serving={"fallback": {"missing_features": missing}})
    (reading,) = rule.read(
        _window(
            ("sextant_predictions_total", {"class": "a"}, 700.0),
            ("sextant_fallbacks_total", {"reason": "feature-outage"}, 300.0),
            ("sextant_fallbacks_total", {"reason": "low-confidence"}, 10.0),
        )
    )
    assert reading.verdict is verdict


@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_the_alerts_bound_contains_the_exact_one(rows: int, share: float, confidence: float) -> None:
    """Closed form costs width, never validity; where nothing or everything is bad the two are equal."""
    events = round(rows * share)
    ours, exact = chernoff(events, rows, confidence), proportion(events, rows, confidence)
    assert ours.low <= exact.low + 1e-9
    assert ours.high >= exact.high - 1e-9
    if events in (0, rows):
        assert (ours.low, ours.high) == pytest.approx((exact.low, exact.high), abs=1e-9)


@pytest.mark.parametrize("rows", [50, 299, 1000, 20_000])
def test_a_server_on_its_limit_raises_an_alert_less_often_than_stated(rows: int) -> None:
    """The chance over the binomial, summed exactly, is at most one less the confidence."""
    rule = _rule(ERRORS)
    fired = next(bad for bad in range(rows + 1) if rule.read(_errors(bad, rows - bad))[0].verdict is Verdict.FAIL)
    assert binom.sf(fired - 1, rows, 0.01) <= 0.05


def test_the_rows_to_prove_are_the_fewest() -> None:
    """One row fewer, none of them bad, stays unknown."""
    rule = _rule(ERRORS, monitoring={"min_rows": 1})
    assert isinstance(rule, ShareRule)
    verdicts = [rule.read(_errors(0, rows))[0].verdict for rows in (rule.rows_to_prove() - 1, rule.rows_to_prove())]
    assert verdicts == [Verdict.UNKNOWN, Verdict.PASS]


def _bins(counts: list[float], shares: list[float]) -> Window:
    return _window(
        *((FEATURE_BINS.name, {"feature": "weight", "bin": str(i)}, n) for i, n in enumerate(counts)),
        *((REFERENCE_RATIO.name, {"feature": "weight", "bin": str(i)}, p) for i, p in enumerate(shares)),
    )


@given(st.lists(st.integers(0, 500), min_size=2, max_size=12), st.data())
def test_the_index_is_that_of_the_training_shares_scaled_to_the_rows(counts: list[int], data: st.DataObject) -> None:
    """Without its correction it is `stability_index` with n p rows expected, which adds half a row a bin."""
    weights = data.draw(st.lists(st.integers(1, 100), min_size=len(counts), max_size=len(counts)))
    rows = sum(counts)
    if rows == 0:
        return
    shares = np.array(weights) / sum(weights)
    drift = feature_drift(
        "weight", {str(i): n for i, n in enumerate(counts)}, {str(i): p for i, p in enumerate(shares)}, 2.0
    )
    corrected = stability_index(shares * rows, counts) - (len(counts) - 1) / rows
    assert drift.estimate.value == pytest.approx(corrected, abs=1e-9)
    statistic, p_value = chisquare(counts, shares * rows)
    assert (drift.chi_square, drift.p_value) == pytest.approx((statistic, p_value), rel=1e-6, abs=1e-12)


def test_rows_like_the_training_rows_rarely_alert() -> None:
    """1,000 windows of 200 rows without a shift: the index is unbiased and the alert stays under its level."""
    random, shares = np.random.default_rng(3), np.full(10, 0.1)
    rule = _rule(DRIFT, monitoring={"min_rows": 200})
    readings = [rule.read(_bins(random.multinomial(200, shares).tolist(), shares.tolist()))[0] for _ in range(1000)]
    assert np.mean([reading.estimate.value for reading in readings]) == pytest.approx(0, abs=0.005)
    assert np.mean([reading.verdict is Verdict.FAIL for reading in readings]) == 0
    covered = [reading.estimate.low <= 0 <= reading.estimate.high for reading in readings]
    assert np.mean(covered) > 0.9


def test_the_drift_bounds_hold_under_a_shift() -> None:
    """A true index of 0.2 lies under the lower bound no more often than stated, within simulation error."""
    random, shares = np.random.default_rng(4), np.full(5, 0.2)
    shifted = np.array([0.36, 0.24, 0.2, 0.12, 0.08])
    truth = float(((shifted - shares) * np.log(shifted / shares)).sum())
    rule = _rule(DRIFT, monitoring={"min_rows": 100})
    estimates = [
        rule.read(_bins(random.multinomial(1000, shifted).tolist(), shares.tolist()))[0].estimate for _ in range(1000)
    ]
    assert np.mean([estimate.low > truth for estimate in estimates]) <= 0.07
    assert np.mean([estimate.high < truth for estimate in estimates]) <= 0.07


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        pytest.param([250.0, 250.0], Verdict.PASS, id="as in training"),
        pytest.param([400.0, 100.0], Verdict.FAIL, id="shifted"),
        pytest.param([80.0, 20.0], Verdict.UNKNOWN, id="shifted on too few rows"),
        pytest.param([0.0, 0.0], Verdict.UNKNOWN, id="no rows"),
    ],
)
def test_drift_is_an_effect_beyond_the_limit_on_enough_rows(counts: list[float], verdict: Verdict) -> None:
    """At most 0.1 nats, on windows of at least 200 rows."""
    (reading,) = _rule(DRIFT, monitoring={"min_rows": 200}).read(_bins(counts, [0.5, 0.5]))
    assert reading.verdict is verdict


def test_a_silent_feature_leaves_drift_unknown() -> None:
    """A feature whose bins do not move is not one that has not drifted."""
    window = _bins([250.0, 250.0], [0.5, 0.5]).samples
    silent = tuple(
        Sample(name, {**TARGET, "feature": "height", "bin": str(place)}, value)
        for name, value in ((FEATURE_BINS.name, 0.0), (REFERENCE_RATIO.name, 0.5))
        for place in range(2)
    )
    (reading,) = _rule(DRIFT).read(Window(window + silent))
    assert reading.verdict is Verdict.UNKNOWN


def test_more_features_ask_for_more_proof() -> None:
    """The confidence is shared out over the features."""
    inputs = {"columns": [f"c{place}" for place in range(50)]}
    wide = _rule(
        DRIFT,
        model={"task": "tabular-classification", "inputs": inputs, "candidates": [{"architecture": "linear"}]},
    )
    narrow = _rule(DRIFT)
    assert isinstance(wide, DriftRule)
    assert (narrow.z, wide.z) == pytest.approx((1.6449, 3.0902), abs=1e-4)


@pytest.mark.parametrize("degrees", [1, 2, 3, 9, 19])
def test_significance_is_that_of_the_exact_chi_square(degrees: int) -> None:
    """Down to a chance of 1 in 1,000 the closed form is within 0.05 standard errors."""
    for chance in (0.05, 0.01, 0.001):
        drift = FeatureDrift("weight", Estimate(0, 0, 0, 1, 0.9), float(chi2.isf(chance, degrees)), degrees)
        assert drift.significance == pytest.approx(norm.isf(chance), abs=0.05)
        assert drift.p_value == pytest.approx(chance)


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        pytest.param([2600.0, 2400.0], Verdict.PASS, id="significant, no effect"),
        pytest.param([18.0, 8.0], Verdict.UNKNOWN, id="effect, not significant"),
        pytest.param([40.0, 10.0], Verdict.FAIL, id="effect and significant"),
    ],
)
def test_an_alert_needs_effect_and_significance(counts: list[float], verdict: Verdict) -> None:
    """Neither a p-value on many rows nor an index on few is a drift."""
    rule = _rule({**DRIFT, "confidence": 0.99}, monitoring={"min_rows": 1})
    (reading,) = rule.read(_bins(counts, [0.5, 0.5]))
    assert reading.verdict is verdict


def test_the_predicted_class_is_no_input(answers_shifted: Window) -> None:
    """A shift of the answers alone is one of predictions, and not of any input."""
    answers = _rule({**DRIFT, "metric": "prediction_psi"}).read(answers_shifted)
    inputs = _rule(DRIFT).read(answers_shifted)
    assert [str(each.verdict) for each in (*answers, *inputs)] == ["fail", "pass"]


@pytest.fixture
def answers_shifted() -> Window:
    """A window in which the inputs are as in training and the answers are not."""
    shifted = [
        Sample(name, {**TARGET, "feature": "prediction", "bin": str(place)}, value)
        for name, values in ((FEATURE_BINS.name, (450.0, 50.0)), (REFERENCE_RATIO.name, (0.5, 0.5)))
        for place, value in enumerate(values)
    ]
    return Window((*_bins([250.0, 250.0], [0.5, 0.5]).samples, *shifted))


def _bias_rule(classes: int, min_rows: int) -> Any:
    """Return the rule on a bias of at most 1 % of the answers, at 95 % confidence over so many classes."""
    data = _plan(ERRORS).data.model_dump()
    listed = {"type": "category", "values": [f"class {place}" for place in range(classes)]}
    bias = {"id": "bias", "metric": "prediction_bias", "at_most": 0.01, "enforce": ["alert"]}
    return _rule(bias, data={**data, "columns": {"label": listed}}, monitoring={"min_rows": min_rows})


def _answers(count: int, rows: int, share: float, classes: int) -> Window:
    """Return a window with so many answers of a class that has a share in training; the other classes share evenly."""
    rest = classes - 1
    counts = [float(count), *[(rows - count) / rest] * rest]
    shares = [share, *[(1 - share) / rest] * rest]
    return _window(
        *((FEATURE_BINS.name, {"feature": "prediction", "bin": str(i)}, n) for i, n in enumerate(counts)),
        *((REFERENCE_RATIO.name, {"feature": "prediction", "bin": str(i)}, p) for i, p in enumerate(shares)),
    )


@pytest.mark.parametrize(
    ("rows", "classes", "share", "live", "times"),
    [
        pytest.param(200, 5, 0.02, 0.02, 1, id="unbiased"),
        pytest.param(50, 5, 0.05, 0.05, 1, id="unbiased, few rows"),
        pytest.param(200, 5, 0.02, 0.01, 2, id="too seldom by the limit"),
        pytest.param(200, 5, 0.02, 0.03, 2, id="too often by the limit"),
        pytest.param(200, 2, 0.002, 0.012, 2, id="a rare class, too often by the limit"),
    ],
)
def test_a_bias_by_training_is_seldom_claimed_where_there_is_none(
    rows: int, classes: int, share: float, live: float, times: float
) -> None:
    """Exact, over every count of a class: what the confidence leaves, or twice that where the truth is the limit."""
    rule = _bias_rule(classes, rows)
    counts = np.arange(rows + 1)
    failed = [rule.read(_answers(n, rows, share, classes))[0].verdict is Verdict.FAIL for n in counts.tolist()]
    assert any(failed)
    assert binom.pmf(counts[failed], rows, live).sum() <= times * 0.05 / classes


def test_a_class_without_answers_is_no_proof_of_a_bias() -> None:
    """The difference is shown as it is; what it may be by chance lies on both sides of it."""
    (reading,) = _bias_rule(5, 200).read(_answers(0, 200, 0.02, 5))
    assert reading.verdict is Verdict.UNKNOWN
    assert reading.estimate.value == 0.02
    assert reading.estimate.low < 0.01
    assert reading.estimate.high > 0.02


def test_a_burn_rates_short_window_is_the_shorter_one() -> None:
    """Swapped windows would alert long after the fault has gone."""
    with pytest.raises(ValidationError, match="the short window has to be shorter"):
        Burn(rate=1, long=300, short=3600)


def test_a_queue_limit_beside_the_histograms_edges_is_a_fault() -> None:
    """It could not be counted; the remedy lists the edges."""
    plan = _plan({"id": "queue", "metric": "queue_wait_p99_ms", "at_most": 42, "enforce": ["alert"]})
    (fault,) = [each for each in inconsistencies(plan, None) if each.path == ("criteria", 0, "at_most")]
    assert fault.problem == "42 ms is no edge of the server's histogram"
    assert "25, 50, 100" in fault.remedy


def test_rows_in_a_bin_that_training_never_filled_are_drift_without_infinity() -> None:
    """The index stays finite; chi-square does not, and its chance is none."""
    drift = feature_drift("weight", {"0": 0.0, "1": 100.0, "2": 100.0}, {"0": 0.0, "1": 1.0, "2": 0.0}, 2.0)
    assert math.isfinite(drift.estimate.value)
    assert drift.estimate.low > 0.2
    assert (drift.chi_square, drift.p_value) == (math.inf, 0.0)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(3600, "1h"), (86400, "1d"), (5400, "90m"), (90, "90s"), (0.5, "500ms"), (3599, "3599s"), (0, "1ms")],
)
def test_durations_are_whole_in_promql(seconds: float, written: str) -> None:
    """PromQL knows no fractions, and no range of zero."""
    assert promql_duration(seconds) == written


@pytest.mark.parametrize("label", ["1", "1.0"])
def test_a_whole_edge_is_found_however_it_is_written(label: str) -> None:
    """Exporters write a second as 1 or as 1.0."""
    buckets = Selector("x_bucket").where(bucket_edge(1.0))
    assert buckets.matches(Sample("x_bucket", {"le": label}, 0.0))
    assert not buckets.matches(Sample("x_bucket", {"le": "10"}, 0.0))
