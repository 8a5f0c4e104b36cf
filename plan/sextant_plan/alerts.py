"""What a rule says to Prometheus and to the person it wakes: recordings, alerts, and the names they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from sextant_plan.catalogue import COMMON_LABELS
from sextant_plan.schema import Burn, Criterion
from sextant_plan.verdicts import Estimate, Verdict
from sextant_plan.window import Target, Window, recorded

# Series that the rules record; labels: plan, criterion, and the target's. Dashboards read these.
CRITERION_EVENTS = "sextant:criterion_events:window"
CRITERION_ROWS = "sextant:criterion_rows:window"
CRITERION_VALUE = "sextant:criterion_value:window"
CRITERION_EVIDENCE = "sextant:criterion_evidence_nats:window"
CRITERION_VERDICT = "sextant:criterion_verdict:window"
FEATURE_BIN_ROWS = "sextant:feature_bin_rows:window"
FEATURE_BIN_EXPECTED = "sextant:feature_bin_expected:window"
FEATURE_ROWS = "sextant:feature_rows:window"
FEATURE_PSI = "sextant:feature_psi:window"
FEATURE_PSI_ERROR = "sextant:feature_psi_standard_error:window"
FEATURE_CHI_SQUARE = "sextant:feature_chi_square:window"
FEATURE_SIGNIFICANCE = "sextant:feature_chi_square_z:window"
FEATURE_VERDICT = "sextant:feature_verdict:window"
PREDICTION_BIN_ROWS = "sextant:prediction_bin_rows:window"
BIAS_SIZE = "sextant:prediction_bias_size:ratio"  # more labels: class or bin, and source, what it is measured against
BIAS_LOW = "sextant:prediction_bias_low:ratio"
BIAS_HIGH = "sextant:prediction_bias_high:ratio"
SLO_BAD_RATIO = "sextant:slo_bad:ratio"  # more labels: objective, and over, the window's length
SLO_BUDGET_LEFT = "sextant:slo_budget_left:ratio"

VERDICT_LEVELS: dict[Verdict, int] = {Verdict.FAIL: -1, Verdict.UNKNOWN: 0, Verdict.PASS: 1}
"""How a verdict is written as a number, so that the least is the worst."""

TARGET = ", ".join(COMMON_LABELS)


class AlertKind(StrEnum):
    """The alerts there are; the value is the name of the runbook's page."""

    LATENCY_HIGH = "latency-high"
    ERRORS_HIGH = "errors-high"
    COVERAGE_LOW = "coverage-low"
    INPUT_DRIFT = "input-drift"
    PREDICTION_DRIFT = "prediction-drift"
    PREDICTION_BIAS = "prediction-bias"
    INPUTS_FLAWED = "inputs-flawed"
    QUALITY_LOW = "quality-low"
    USERS_DISSATISFIED = "users-dissatisfied"
    LABELS_MISSING = "labels-missing"
    CLIENT_ERRORS = "client-errors"
    TRAFFIC_ODD = "traffic-odd"
    SATURATED = "saturated"
    MODEL_OLD = "model-old"
    FEATURES_STALE = "features-stale"
    PROBE_FAILING = "probe-failing"
    BUDGET_BURNING = "budget-burning"
    HARDWARE_STRAINED = "hardware-strained"
    HARDWARE_FAULTY = "hardware-faulty"
    NO_READY_SERVER = "no-ready-server"
    FAILURE_LASTING = "failure-lasting"
    RETRAIN_DUE = "retrain-due"

    @property
    def alert(self) -> str:
        """The alert's name in Prometheus."""
        return "Sextant" + "".join(part.capitalize() for part in self.value.split("-"))


class Severity(StrEnum):
    """`critical` wakes a person, `warning` is read in the morning, `info` starts a machine."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Recording:
    """A recording rule; rules of one group are evaluated in order, so a later one may read an earlier."""

    record: str
    expression: str
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Alert:
    """An alert rule; `hold` is how many seconds the expression must stay true."""

    kind: AlertKind
    expression: str
    hold: float
    severity: Severity
    summary: str
    description: str
    labels: dict[str, str]


def proved_violation(labels: dict[str, str]) -> str:
    """Return the PromQL of a criterion's value where its violation is proved: what its alert fires on."""
    return f"{recorded(CRITERION_VALUE, labels)} and ({recorded(CRITERION_VERDICT, labels)} == -1)"


@dataclass(frozen=True)
class Reading:
    """What a rule found for one target in one window; `burning` are the pairs of a budget that burn too fast."""

    target: Target
    verdict: Verdict
    estimate: Estimate | None = None
    burning: tuple[Burn, ...] = ()


class Rule(Protocol):
    """One requirement on a served model, as PromQL and as a function of a window."""

    @property
    def criterion(self) -> Criterion | None:
        """The criterion that the rule was compiled from, if it was."""

    @property
    def labels(self) -> dict[str, str]:
        """The labels that tell its series and alerts from those of other rules: `plan`, and `criterion` if any."""

    @property
    def requirement(self) -> str:
        """The requirement as one clause, with its limit and unit."""

    def recordings(self) -> list[Recording]:
        """Return the recording rules, in the order in which they have to be evaluated."""

    def alerts(self) -> list[Alert]:
        """Return the alert rules that read them."""

    def alerts_of(self, reading: Reading) -> list[Alert]:
        """Return those of its alerts whose expression is true for a reading's target; none unless it failed."""

    def read(self, window: Window) -> list[Reading]:
        """Return a reading for each target."""


class AlertsByVerdict:
    """What rules share whose alerts are all true for exactly the targets that fail."""

    def alerts_of(self: Rule, reading: Reading) -> list[Alert]:
        """Return all of the rule's alerts if the reading failed."""
        return self.alerts() if reading.verdict is Verdict.FAIL else []
