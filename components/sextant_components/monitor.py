"""One bounded pass of monitoring: the plan's rules over what the servers logged in a window, as evidence of a run."""

from __future__ import annotations

import time
from dataclasses import replace

from sextant_components.context import RunContext, Step
from sextant_components.in_service import model_in_service
from sextant_components.log_store import logs_of
from sextant_components.logged_window import LoggedWindow, read_logged
from sextant_components.production_checks import record_production_checks
from sextant_components.production_suspects import record_production_suspects
from sextant_components.watch import WITHOUT_CRITERION_Z
from sextant_monitoring.launcher import TimeWindow
from sextant_monitoring.quality import quality_of
from sextant_monitoring.watcher import quality_samples
from sextant_plan.alerts import Rule
from sextant_plan.catalogue import (
    FALLBACKS,
    FEATURE_BINS,
    FEEDBACK,
    PREDICTIONS,
    QUALITY_ERROR,
    REFERENCE_RATIO,
    Enforcement,
)
from sextant_plan.drift_rule import drift_by_feature
from sextant_plan.ledger import LedgerWriter
from sextant_plan.rules import compile_rules
from sextant_plan.schema import Criterion, Plan
from sextant_plan.share_rule import worst_reading
from sextant_plan.verdicts import Verdict
from sextant_plan.window import Window

LOGGED = {series.name for series in (FALLBACKS, FEATURE_BINS, FEEDBACK, PREDICTIONS, QUALITY_ERROR, REFERENCE_RATIO)}


def run_monitor(context: RunContext, *, window: TimeWindow | None = None, now: float | None = None) -> Verdict:
    """Judge one window of the version in service, by default the last whole one before `now` (Unix time).

    Criteria on requests are not judged here: the logs hold answered rows only. Without an active model or without
    rows everything is unknown. The logs lie in the home, or where SEXTANT_LOGS says. Raises UsageError as
    `compile_rules` does, and InfrastructureError for a broken log or a store that does not give it.
    """
    from sextant_serving.errors import NothingActive

    plan = context.plan
    now = time.time() if now is None else now
    window = window or TimeWindow.ended_before(now, plan.monitoring.window)
    rules = compile_rules(plan)
    with context.ledger(Step.WATCH) as ledger:
        try:
            active = model_in_service(context.home, plan.name)
            with logs_of(context.home, active.name, window, now=now) as logs:
                logged = read_logged(logs, active, window)
        except NothingActive as error:
            _record_window(ledger, window, str(error), Verdict.UNKNOWN)
            return ledger.verdict
        seen = Verdict.PASS if logged.rows.height else Verdict.UNKNOWN
        _record_window(ledger, window, {"version": logged.target[1], "rows": logged.rows.height}, seen)
        enough = _record_labels(ledger, plan, logged, is_due=now >= window.end + plan.monitoring.labels.delay)
        counted = _with_quality(plan, logged, window, logged.counted(with_labels=enough))
        for rule in rules:
            if rule.criterion is not None and set(rule.criterion.definition.series) <= LOGGED:
                _record_rule(ledger, rule, rule.criterion, counted)
        _record_drift(ledger, plan, logged, counted)
        record_production_checks(ledger, plan, logged.rows)
        record_production_suspects(ledger, plan, logged)
    return ledger.verdict


def _with_quality(plan: Plan, logged: LoggedWindow, window: TimeWindow, counted: Window) -> Window:
    """Return the counted window with what joined labels say of criteria that no counter can tell."""
    answered = logged.answered
    if answered.is_empty():
        return counted
    quality = quality_of(plan, window, logged.target, answered)
    return replace(counted, samples=(*counted.samples, *quality_samples(plan, quality)))


def _record_window(ledger: LedgerWriter, window: TimeWindow, found: object, verdict: Verdict) -> None:
    ledger.record(
        "window",
        requirement="the version in service answered and logged in the window",
        risk="monitoring is green because there is nothing to monitor",
        qa_method="rows of the prediction log by time and version; a shadow's answers do not count",
        value={"window": str(window), "found": found},
        verdict=verdict,
    )


def _record_labels(ledger: LedgerWriter, plan: Plan, logged: LoggedWindow, *, is_due: bool) -> bool:
    """Record how many predictions have a label; tell whether they are enough for quality to be judged by them."""
    wanted = plan.monitoring.labels.join_at_least
    enough = logged.rows.height > 0 and logged.join >= wanted
    ledger.record(
        "label join",
        requirement=f"at least {wanted:g} of the window's predictions have a label once labels are due",
        risk="quality is computed from the few labels that happen to come back",
        qa_method="the first label of each prediction id, however late, against the logged prediction",
        value={"rows": logged.rows.height, "due": is_due, **dict(sorted(logged.outcomes.items()))},
        verdict=Verdict.PASS if enough else Verdict.UNKNOWN,
        counts=is_due,
    )
    return enough


def _record_rule(ledger: LedgerWriter, rule: Rule, criterion: Criterion, counted: Window) -> None:
    """Record one criterion; only one that alerts counts, one that only retrains informs the trigger."""
    reading = worst_reading(rule.read(counted))
    estimate = reading.estimate if reading else None
    alerting = Enforcement.ALERT in criterion.enforce
    ledger.record(
        f"{'alert' if alerting else 'retrain'} {criterion.id}",
        requirement=rule.requirement,
        risk="a model that was good when it was promoted harms its users unseen",
        qa_method="the plan's alert rule, on the counts of the logged window",
        value=None if estimate else "too few rows, or too few labels, in the window",
        estimate=estimate,
        criterion=criterion,
        verdict=reading.verdict if reading else Verdict.UNKNOWN,
        counts=alerting,
    )


def _record_drift(ledger: LedgerWriter, plan: Plan, logged: LoggedWindow, counted: Window) -> None:
    drifts = drift_by_feature(counted, plan.name, logged.target, WITHOUT_CRITERION_Z)
    ledger.record(
        "drift by feature",
        requirement="each logged input's shift against the training rows is known",
        risk="one drifting input hides in an aggregate",
        qa_method="bias-corrected stability index over the training bins",
        value={drift.feature: {"psi": drift.estimate.value, "rows": drift.estimate.n} for drift in drifts},
        verdict=Verdict.PASS if drifts else Verdict.UNKNOWN,
        counts=False,
    )
