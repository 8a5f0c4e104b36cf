"""The criteria of the `evaluate` step: which evidence answers which metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sextant_components.evaluation.server_probe import Probe
from sextant_components.evidence import metrics
from sextant_components.evidence.gates import Settled, unavailable
from sextant_components.evidence.metrics import Answers
from sextant_components.evidence.number_metrics import NumberAnswers
from sextant_components.modelling.objectives import Merit
from sextant_plan.bounds import Groups, in_groups, proportion, quantile, taken
from sextant_plan.catalogue import QUANTILES, Enforcement
from sextant_plan.catalogue import Answers as AnswerKind
from sextant_plan.schema import Criterion, Plan
from sextant_plan.verdicts import Estimate, Verdict

NO_CHAMPION = (
    "no champion: the promotion ledger was read and is empty, so there is nothing this model could be worse than"
)


@dataclass(frozen=True)
class Evidence:
    """Everything measured on the sealed rows.

    `slices` has each slice column's value by row, `others` the merit of the baseline's and the champion's answers by
    row (`objectives.Merit`) or why that is not known, `corrupted` whether the model is right by corruption, `probe`
    the server's answers or why there are none. `attacked` tells which attacked rows are right, `attacked_groups` has
    their groups, `strangers` gives the areas by kind of stranger at a confidence.
    """

    plan: Plan
    classes: list[str]
    answers: Answers | NumberAnswers
    slices: Mapping[str, list[str]]
    others: Mapping[str, Merit | Settled]
    corrupted: Mapping[str, NDArray[np.bool_]]
    probe: Probe | Settled
    attacked: NDArray[np.bool_] | Settled = field(default_factory=lambda: unavailable("no attack was tried"))
    attacked_groups: Groups = None
    strangers: Callable[[float], Mapping[str, Estimate]] = lambda _confidence: {}


Answer = Callable[[Criterion, Evidence], Estimate | Settled]


def answer(criterion: Criterion, evidence: Evidence) -> Estimate | Settled:
    """Return the estimate that answers a criterion, or why there is none."""
    return answers_of(evidence.plan.model.answers)[criterion.metric](criterion, evidence)


def beats_baseline(criterion: Criterion) -> bool:
    """Tell whether a criterion gates on the model being better than the baseline on all rows, by its own margin."""
    gates = criterion.relative_to == "baseline" and criterion.slice is None and Enforcement.GATE in criterion.enforce
    return gates and (criterion.limit >= 0 if criterion.at_least is not None else criterion.limit <= 0)


def groups_behind(criterion: Criterion, evidence: Evidence) -> Groups:
    """Return the groups of the rows that a criterion is about, None where each is its own."""
    rows = rows_of(criterion, evidence) if "=" in (criterion.slice or "") else None
    groups = evidence.attacked_groups if criterion.metric == "attacked_accuracy" else evidence.answers.groups
    groups = taken(groups, rows) if isinstance(rows, np.ndarray) else groups
    return groups if in_groups(groups) else None


def answers_of(kind: AnswerKind) -> dict[str, Answer]:
    """Return how each metric is answered where the model's answers are of this kind."""
    if kind == "class":
        return {**_SERVED, **_CLASSES}
    from sextant_components.evaluation.number_criteria import ANSWERS

    return {**_SERVED, **ANSWERS}


def rows_of(criterion: Criterion, evidence: Evidence) -> NDArray[np.bool_] | Settled:
    """Return which sealed rows a criterion is about."""
    if criterion.slice is None:
        return np.ones(len(evidence.answers.labels), dtype=np.bool_)
    column, _, value = criterion.slice.partition("=")
    rows = np.asarray([found == value for found in evidence.slices[column]], dtype=np.bool_)
    return rows if rows.any() else unavailable(f"no sealed row has {criterion.slice}")


def _classes(evidence: Evidence) -> Answers:
    assert isinstance(evidence.answers, Answers)
    return evidence.answers


def _accuracy(criterion: Criterion, evidence: Evidence) -> Estimate | Settled:
    rows = rows_of(criterion, evidence)
    if isinstance(rows, Settled):
        return rows
    own = _classes(evidence).take(rows)
    if criterion.relative_to is None:
        return metrics.accuracy(own.right, criterion.confidence, own.groups)
    other = evidence.others[criterion.relative_to]
    if isinstance(other, Settled):
        return other
    return metrics.paired_gain(own.right, other[rows], criterion.confidence, own.groups)


def _recall_min(criterion: Criterion, evidence: Evidence) -> Estimate | Settled:
    return metrics.recall_min(_classes(evidence), len(evidence.classes), criterion.confidence)


def _macro_f1(criterion: Criterion, evidence: Evidence) -> Estimate | Settled:
    rows = rows_of(criterion, evidence)
    if isinstance(rows, Settled):
        return rows
    return metrics.macro_f1(_classes(evidence).take(rows), len(evidence.classes), criterion.confidence)


def _calibration_error(criterion: Criterion, evidence: Evidence) -> Estimate | Settled:
    return metrics.calibration_error(_classes(evidence), criterion.confidence)


def _coverage(criterion: Criterion, evidence: Evidence) -> Estimate | Settled:
    return metrics.coverage(_classes(evidence), evidence.plan.serving.fallback.abstain_below, criterion.confidence)


def _net_value(criterion: Criterion, evidence: Evidence) -> Estimate | Settled:
    economics = evidence.plan.goal.economics
    if economics is None:
        return unavailable("the plan has no goal.economics")
    below = evidence.plan.serving.fallback.abstain_below
    return metrics.net_value(_classes(evidence), economics, below, criterion.confidence)


def gap_between(metric: Callable[[Evidence, list[str], float], Estimate]) -> Answer:
    """Return the answer of a metric that compares the values of the criterion's column, given by row."""

    def answer(criterion: Criterion, evidence: Evidence) -> Estimate | Settled:
        if criterion.slice is None:
            return unavailable("the criterion names no column to compare")
        values = evidence.slices[criterion.slice]
        if len(set(values)) < 2:
            return unavailable(f"the sealed rows have fewer than two values of {criterion.slice}")
        return metric(evidence, values, criterion.confidence)

    return answer


def _accuracy_gap(evidence: Evidence, values: list[str], confidence: float) -> Estimate:
    return metrics.accuracy_gap(_classes(evidence), values, confidence)


def _corrupted_accuracy(criterion: Criterion, evidence: Evidence) -> Estimate | Settled:
    if not evidence.corrupted:
        return unavailable("the plan lists no corruptions, or the model reads no picture")
    parts = [(right, evidence.answers.groups) for right in evidence.corrupted.values()]
    return metrics.lowest(parts, criterion.confidence)


def _attacked_accuracy(criterion: Criterion, evidence: Evidence) -> Estimate | Settled:
    if isinstance(evidence.attacked, Settled):
        return evidence.attacked
    return metrics.accuracy(evidence.attacked, criterion.confidence, evidence.attacked_groups)


def _stranger_auroc(criterion: Criterion, evidence: Evidence) -> Estimate | Settled:
    """Take the worst kind; as in `metrics.lowest`, failing is corrected for the choice among them, passing is not."""
    areas = list(evidence.strangers(criterion.confidence).values())
    if not areas:
        return unavailable("no input of no class was asked of the model")
    corrected = evidence.strangers(1 - (1 - criterion.confidence) / len(areas)).values()
    worst = min(areas, key=lambda area: area.value)
    return replace(worst, low=min(area.low for area in areas), high=min(area.high for area in corrected))


def _served(evidence: Evidence) -> Probe | Settled:
    """Return what is known of the server; a refusal is neither an answer in time nor one without an error."""
    probe = evidence.probe
    if isinstance(probe, Settled) or probe.unanswered is None:
        return probe
    return unavailable(probe.unanswered)


def _latency(criterion: Criterion, evidence: Evidence) -> Estimate | Settled:
    probe = _served(evidence)
    if isinstance(probe, Settled):
        return probe
    if probe.failed == len(probe.milliseconds):
        return unavailable(f"{probe.failed} of {len(probe.answers)} sound requests failed, and none was answered")
    return quantile(probe.milliseconds, QUANTILES[criterion.metric], criterion.confidence)


def _error_rate(criterion: Criterion, evidence: Evidence) -> Estimate | Settled:
    probe = _served(evidence)
    if isinstance(probe, Settled):
        return probe
    return proportion(probe.failed, len(probe.milliseconds), criterion.confidence)


_CLASSES: dict[str, Answer] = {
    "accuracy": _accuracy,
    "recall_min": _recall_min,
    "macro_f1": _macro_f1,
    "calibration_error": _calibration_error,
    "coverage": _coverage,
    "net_value": _net_value,
    "accuracy_gap": gap_between(_accuracy_gap),
    "corrupted_accuracy": _corrupted_accuracy,
    "attacked_accuracy": _attacked_accuracy,
    "stranger_auroc": _stranger_auroc,
}
_SERVED: dict[str, Answer] = {
    "latency_p50_ms": _latency,
    "latency_p99_ms": _latency,
    "error_rate": _error_rate,
}


def without_champion() -> Settled:
    """Return the answer to `relative_to: champion` for a first release.

    It passes: the requirement is not to be worse than what is live, and that nothing is live is itself read
    from the write-once ledger. Were it unknown, no plan with such a criterion could ever release anything. An
    unreadable ledger is an error, not an empty one.
    """
    return Settled(Verdict.PASS, NO_CHAMPION)
