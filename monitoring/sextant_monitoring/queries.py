"""The queries of the dashboards, apart from how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from sextant_plan.alerts import (
    BIAS_SIZE,
    CRITERION_VALUE,
    CRITERION_VERDICT,
    FEATURE_CHI_SQUARE,
    FEATURE_PSI,
    FEATURE_SIGNIFICANCE,
    SLO_BAD_RATIO,
    SLO_BUDGET_LEFT,
    TARGET,
    Rule,
)
from sextant_plan.bias_rule import BiasRule
from sextant_plan.burn_rule import BurnRule
from sextant_plan.catalogue import (
    BATCH_ROWS,
    DECODE_SECONDS,
    DEVICE_SECONDS,
    FALLBACKS,
    FEATURE_BINS,
    FEATURE_ROWS,
    FEATURE_SECONDS,
    FEATURE_TIME,
    FEEDBACK,
    FLAWED_ROWS,
    MODEL_CREATED,
    PREDICTIONS,
    QUEUE_SECONDS,
    RATINGS,
    READY,
    REFERENCE_RATIO,
    REQUEST_SECONDS,
    REQUESTS,
    ROLLOUT_PHASE,
    ROLLOUT_WEIGHT,
    Series,
)
from sextant_plan.catalogue.platform import (
    GPU_BUSY,
    GPU_CELSIUS,
    GPU_FAULTS,
    GPU_MEMORY_FREE,
    GPU_MEMORY_USED,
    POD_LIMITS,
    POD_MEMORY,
    POD_RESTARTS,
)
from sextant_plan.catalogue.watching import (
    EXPECTED_ACCURACY,
    LABEL_JOIN,
    PREDICTION_BIAS,
    PROBE_SECONDS,
    PROBE_SUCCESS,
    QUALITY_ROWS,
    STALENESS_LOSS,
)
from sextant_plan.drift_rule import DriftRule
from sextant_plan.platform_rules import serving_pods
from sextant_plan.quality_rule import series_of
from sextant_plan.schema import Criterion
from sextant_plan.types import DAY
from sextant_plan.window import Matcher, Selector, recorded

RATE = "$__rate_interval"  # Grafana's: four scrapes or one pixel, whichever is longer
BY_VERSION = "{{version}} {{variant}}"


@dataclass(frozen=True)
class Query:
    """A PromQL expression and the legend of its series."""

    expr: str
    legend: str


def verdict(rule: Rule) -> Query:
    """Return the worst verdict of a criterion over all targets: -1, 0 or 1."""
    return Query(f"min({recorded(CRITERION_VERDICT, rule.labels)})", rule.requirement)


def value(rule: Rule) -> Query:
    """Return a criterion's measured value by target."""
    return Query(recorded(CRITERION_VALUE, rule.labels), BY_VERSION)


def feature_psi(rule: DriftRule) -> Query:
    """Return the corrected stability index of each feature."""
    return Query(recorded(FEATURE_PSI, rule.labels), "{{feature}} {{version}} {{variant}}")


def feature_significance(rule: DriftRule) -> Query:
    """Return by how many standard errors each feature's chi-square lies over its expectation."""
    return Query(recorded(FEATURE_SIGNIFICANCE, rule.labels), "{{feature}} {{version}} {{variant}}")


def feature_chi_square(rule: DriftRule) -> Query:
    """Return the chi-square statistic of each feature."""
    return Query(recorded(FEATURE_CHI_SQUARE, rule.labels), "{{feature}} {{version}} {{variant}}")


def requests(model: str) -> Query:
    """Return requests a second by status code."""
    return _rate_by(REQUESTS, model, "code")


def request_time(model: str) -> tuple[Query, Query]:
    """Return the median and the 99th percentile of the request time."""
    return _quantile(REQUEST_SECONDS, model, 0.5, "median "), _quantile(REQUEST_SECONDS, model, 0.99, "p99 ")


def ready(model: str) -> Query:
    """Return how many servers are ready, by version."""
    return Query(f"sum by ({TARGET}) ({Selector.of(READY.name, model=model).promql()})", BY_VERSION)


def queue_wait(model: str) -> Query:
    """Return the 99th percentile of the wait for a batch."""
    return _quantile(QUEUE_SECONDS, model, 0.99)


def device_time(model: str) -> Query:
    """Return the 99th percentile of a batch's time on the device."""
    return _quantile(DEVICE_SECONDS, model, 0.99)


def decode_time(model: str) -> Query:
    """Return the 99th percentile of a picture's decoding."""
    return _quantile(DECODE_SECONDS, model, 0.99)


def feature_time(model: str) -> Query:
    """Return the 99th percentile of an online feature lookup."""
    return _quantile(FEATURE_SECONDS, model, 0.99)


def batch_rows(model: str) -> Query:
    """Return the mean number of rows in a batch."""
    rows, batches = (
        f"sum by ({TARGET}) (rate({Selector.of(BATCH_ROWS.name + part, model=model).promql()}[{RATE}]))"
        for part in ("_sum", "_count")
    )
    return Query(f"{rows} / {batches}", BY_VERSION)


def model_age(model: str) -> Query:
    """Return the seconds since the bundle was sealed."""
    created = Selector.of(MODEL_CREATED.name, model=model).promql()
    return Query(f"time() - max by ({TARGET}) ({created})", BY_VERSION)


def lost_to_age(model: str) -> Query:
    """Return the accuracy that the model's age has cost by its staleness curve, with the curve's bounds."""
    days = f"({model_age(model).expr}) / {DAY:g}"
    a_day = f"max by ({TARGET}, bound) ({Selector.of(STALENESS_LOSS.name, model=model).promql()})"
    return Query(f"{a_day} * on ({TARGET}) group_left () ({days})", f"{{{{bound}}}} {BY_VERSION}")


def bias_size(rule: BiasRule) -> Query:
    """Return each class's bias as the rule reads it: by labels, and by the training rows."""
    legend = f"{{{{source}}}} {{{{class}}}}{{{{bin}}}} {BY_VERSION}"
    return Query(recorded(BIAS_SIZE, rule.labels), legend)


def classes(model: str) -> Query:
    """Return each class's share of the answered rows."""
    rate = f"rate({Selector.of(PREDICTIONS.name, model=model).promql()}[{RATE}])"
    shares = f"sum by (class, {TARGET}) ({rate}) / on ({TARGET}) group_left () sum by ({TARGET}) ({rate})"
    return Query(shares, "{{class}} {{version}} {{variant}}")


def fallbacks(model: str) -> Query:
    """Return rows a second that fell back, by reason."""
    return _rate_by(FALLBACKS, model, "reason")


def feedback(model: str) -> Query:
    """Return labels a second, by agreement with the prediction."""
    return _rate_by(FEEDBACK, model, "outcome")


def ratings(model: str) -> Query:
    """Return users' ratings a second, by stars."""
    return _rate_by(RATINGS, model, "rating")


def alerts_firing(model: str) -> Query:
    """Return how many alerts of the plan are firing, by severity; 0 where there are none."""
    firing = Selector.of("ALERTS", alertstate="firing", plan=model).promql()
    return Query(
        f"count by (severity) ({firing}) or label_replace(vector(0), 'severity', 'none', '', '')", "{{severity}}"
    )


def budget_left(rule: BurnRule) -> Query:
    """Return the share of an objective's error budget that is left of its period."""
    return Query(recorded(SLO_BUDGET_LEFT, {**rule.labels, "objective": rule.objective}), BY_VERSION)


def bad_ratio(rule: BurnRule) -> Query:
    """Return the share of bad requests over each window that the objective's alerts read."""
    return Query(recorded(SLO_BAD_RATIO, {**rule.labels, "objective": rule.objective}), "{{over}} {{variant}}")


def probe(model: str) -> tuple[Query, Query]:
    """Return the share of golden requests answered as sealed, and the longest answer in seconds."""
    share, seconds = (Selector.of(series.name, model=model).promql() for series in (PROBE_SUCCESS, PROBE_SECONDS))
    return Query(f"min by ({TARGET}) ({share})", BY_VERSION), Query(f"max by ({TARGET}) ({seconds})", BY_VERSION)


def device_share(model: str) -> Query:
    """Return the share of time that a server's device is at work."""
    spent = Selector.of(f"{DEVICE_SECONDS.name}_sum", model=model).promql()
    servers = f"sum by ({TARGET}) ({Selector.of(READY.name, model=model).promql()})"
    return Query(f"sum by ({TARGET}) (rate({spent}[{RATE}])) / {servers}", BY_VERSION)


def error_share(model: str) -> Query:
    """Return the share of requests answered with a 5xx code, by version and variant."""
    requests = Selector.of(REQUESTS.name, model=model)
    failed = requests.where(Matcher("code", "5..", regex=True))
    bad, every = (f"sum by ({TARGET}) (rate({each.promql()}[{RATE}]))" for each in (failed, requests))
    return Query(f"({bad} or 0 * {every}) / ({every} > 0)", BY_VERSION)


def traffic_share(model: str) -> Query:
    """Return each variant's share of the requests: what a canary's weight really does."""
    rate = f"sum by ({TARGET}) (rate({Selector.of(REQUESTS.name, model=model).promql()}[{RATE}]))"
    return Query(f"{rate} / scalar(sum({rate}) > 0)", BY_VERSION)


def agreement(model: str) -> Query:
    """Return the share of labels that agree with the prediction, by version and variant."""
    labels = Selector.of(FEEDBACK.name, model=model)
    right = labels.where(Matcher("outcome", "agree"))
    judged = labels.where(Matcher("outcome", "agree|disagree", regex=True))
    good, every = (f"sum by ({TARGET}) (rate({each.promql()}[{RATE}]))" for each in (right, judged))
    return Query(f"{good} / ({every} > 0)", BY_VERSION)


def rollout_weight(model: str) -> Query:
    """Return the share of requests that the controller asks for the canary, in percent."""
    return Query(f"max by (namespace) ({Selector.of(ROLLOUT_WEIGHT.name, model=model).promql()})", "{{namespace}}")


def rollout_phase(model: str) -> Query:
    """Return the phase that the rollout is in."""
    return Query(f"max by (phase) ({Selector.of(ROLLOUT_PHASE.name, model=model).promql()}) == 1", "{{phase}}")


def bin_shares(model: str) -> tuple[Query, Query]:
    """Return the live share of rows in each bin, and the training share."""
    counted = f"sum by (feature, bin) (rate({Selector.of(FEATURE_BINS.name, model=model).promql()}[{RATE}]))"
    total = "sum by (feature) "
    live = f"{counted} / on (feature) group_left () ({total}({counted}) > 0)"
    training = f"max by (feature, bin) ({Selector.of(REFERENCE_RATIO.name, model=model).promql()})"
    return Query(live, "live {{feature}} {{bin}}"), Query(training, "training {{feature}} {{bin}}")


def quality(criterion: Criterion, model: str) -> Query:
    """Return a quality by delayed labels with its bounds."""
    selector = Selector.of(series_of(criterion).name, model=model, criterion=criterion.id)
    return Query(f"max by (bound, {TARGET}) ({selector.promql()})", f"{{{{bound}}}} {BY_VERSION}")


def quality_rows(model: str) -> Query:
    """Return the labelled rows behind each quality."""
    return Query(f"max by (criterion) ({Selector.of(QUALITY_ROWS.name, model=model).promql()})", "{{criterion}}")


def label_join(model: str) -> Query:
    """Return the share of due predictions that have a label."""
    return Query(f"max by ({TARGET}) ({Selector.of(LABEL_JOIN.name, model=model).promql()})", BY_VERSION)


def prediction_bias(model: str) -> Query:
    """Return each class's predicted share less its labelled share."""
    selector = Selector.of(PREDICTION_BIAS.name, model=model).promql()
    return Query(f"max by (class, {TARGET}) ({selector})", f"{{{{class}}}} {BY_VERSION}")


def expected_accuracy(model: str) -> Query:
    """Return the accuracy that a calibrated model expects until labels come."""
    return Query(f"max by ({TARGET}) ({Selector.of(EXPECTED_ACCURACY.name, model=model).promql()})", BY_VERSION)


def flawed_rows(model: str) -> Query:
    """Return the share of rows with a missing value or an unknown category."""
    flawed = f"sum by (flaw, {TARGET}) (rate({Selector.of(FLAWED_ROWS.name, model=model).promql()}[{RATE}]))"
    rows = f"sum by ({TARGET}) (rate({Selector.of(BATCH_ROWS.name + '_sum', model=model).promql()}[{RATE}]))"
    return Query(f"{flawed} / on ({TARGET}) group_left () ({rows} > 0)", f"{{{{flaw}}}} {BY_VERSION}")


def feature_age(model: str) -> Query:
    """Return the seconds since the newest event of each view."""
    newest = Selector.of(FEATURE_TIME.name, model=model).promql()
    return Query(f"time() - max by (view) ({newest})", "{{view}}")


def unusable_features(model: str) -> Query:
    """Return the share of the rows looked up of each view that were stale, or absent."""
    rows = Selector.of(FEATURE_ROWS.name, model=model)
    unusable = rows.where(Matcher("state", "found", negated=True))
    share = (
        f"sum by (view, state) (rate({unusable.promql()}[{RATE}])) "
        f"/ on (view) group_left () (sum by (view) (rate({rows.promql()}[{RATE}])) > 0)"
    )
    return Query(share, "{{view}} {{state}}")


def gpu(series: str, model: str) -> Query:
    """Return a gauge of NVIDIA's exporter by GPU."""
    return Query(f"max by (pod, gpu) ({_pods(series, model)})", "{{pod}} GPU {{gpu}}")


def gpu_busy(model: str) -> Query:
    """Return the share of time that each GPU works."""
    return Query(gpu(GPU_BUSY, model).expr + " / 100", "{{pod}} GPU {{gpu}}")


def gpu_memory(model: str) -> Query:
    """Return the share of each GPU's memory in use."""
    used, free = (f"sum by (pod, gpu) ({_pods(series, model)})" for series in (GPU_MEMORY_USED, GPU_MEMORY_FREE))
    return Query(f"{used} / ({used} + {free})", "{{pod}} GPU {{gpu}}")


def gpu_celsius(model: str) -> Query:
    """Return each GPU's temperature."""
    return gpu(GPU_CELSIUS, model)


def gpu_faults(model: str) -> Query:
    """Return each GPU's last fault, 0 for none."""
    return gpu(GPU_FAULTS, model)


def pod_memory(model: str) -> Query:
    """Return each container's memory over its limit."""
    named = Matcher("container", "", negated=True)
    used = f"sum by (pod, container) ({_pods(POD_MEMORY, model, named)})"
    limit = f"sum by (pod, container) ({_pods(POD_LIMITS, model, Matcher('resource', 'memory'))})"
    return Query(f"{used} / {limit}", "{{pod}} {{container}}")


def pod_restarts(model: str) -> Query:
    """Return each container's restarts."""
    return Query(f"max by (pod, container) ({_pods(POD_RESTARTS, model)})", "{{pod}} {{container}}")


def _pods(series: str, model: str, *matchers: Matcher) -> str:
    return Selector(series, (serving_pods(model), *matchers)).promql()


def _rate_by(series: Series, model: str, label: str) -> Query:
    rate = f"rate({Selector.of(series.name, model=model).promql()}[{RATE}])"
    return Query(f"sum by ({label}, {TARGET}) ({rate})", f"{{{{{label}}}}} {BY_VERSION}")


def _quantile(series: Series, model: str, q: float, legend: str = "") -> Query:
    buckets = Selector.of(f"{series.name}_bucket", model=model).promql()
    rate = f"sum by (le, {TARGET}) (rate({buckets}[{RATE}]))"
    return Query(f"histogram_quantile({q}, {rate})", legend + BY_VERSION)
