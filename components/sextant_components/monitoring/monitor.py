"""One bounded pass of monitoring: the plan's rules over what the servers logged in a window, as evidence of a run.

What labels decide is judged over an older window than traffic is: of the last one labels have not come yet, and a pass
that judged it then would never see them. So a schedule judges the labels of each window once, as the watcher does.
"""

from __future__ import annotations

import time
from dataclasses import replace

from sextant_components.deployment.in_service import model_in_service
from sextant_components.monitoring.log_store import logs_of
from sextant_components.monitoring.logged_window import LoggedWindow, read_logged
from sextant_components.monitoring.production_checks import record_production_checks
from sextant_components.monitoring.production_suspects import record_label_suspects, record_picture_suspects
from sextant_components.monitoring.watch import WITHOUT_CRITERION_Z
from sextant_components.runs.context import RunContext, Step
from sextant_monitoring.launcher import TimeWindow
from sextant_monitoring.quality import last_due_window, quality_of
from sextant_monitoring.watcher import quality_samples
from sextant_plan.alerts import Rule
from sextant_plan.catalogue import FALLBACKS, FEATURE_BINS, FEEDBACK, PREDICTIONS, REFERENCE_RATIO, Enforcement
from sextant_plan.catalogue.watching import QUALITY_ERROR
from sextant_plan.drift_rule import drift_by_feature
from sextant_plan.ledger import LedgerWriter
from sextant_plan.rules import compile_rules
from sextant_plan.schema import Criterion, Plan
from sextant_plan.share_rule import worst_reading
from sextant_plan.verdicts import Verdict
from sextant_plan.window import Window

LOGGED = {series.name for series in (FALLBACKS, FEATURE_BINS, FEEDBACK, PREDICTIONS, QUALITY_ERROR, REFERENCE_RATIO)}
LABELLED = {series.name for series in (FEEDBACK, QUALITY_ERROR)}


def run_monitor(context: RunContext, *, window: TimeWindow | None = None, now: float | None = None) -> Verdict:
    """Judge the version in service by its last whole window before `now` (Unix time), and its labels by the last due.

    A `window` that is given is judged for both. What labels that are not due leave unknown does not count against the
    run. Criteria on requests are not judged here: the logs hold answered rows only. Without an active model or without
    rows everything is unknown. The logs lie in the home, or where SEXTANT_LOGS says. Raises UsageError as
    `compile_rules` does, and InfrastructureError for a broken prediction log or a store that does not give it.
    """
    from sextant_serving.errors import NothingActive

    plan = context.plan
    now = time.time() if now is None else now
    last = window or TimeWindow.ended_before(now, plan.monitoring.window)
    due = window or last_due_window(plan, now)
    rules = compile_rules(plan)
    with context.ledger(Step.WATCH) as ledger:
        try:
            active = model_in_service(context.home, plan.name)
        except NothingActive as error:
            _record_window(ledger, last, str(error), Verdict.UNKNOWN)
            return ledger.verdict
        with logs_of(context.home, active.name, {last, due}, now=now) as logs:
            logged = read_logged(logs, active, last)
            labelled = logged if due == last else read_logged(logs, active, due)
        seen = Verdict.PASS if logged.rows.height else Verdict.UNKNOWN
        _record_window(ledger, last, {"version": logged.target[1], "rows": logged.rows.height}, seen)
        are_due = _are_due(plan, labelled, now)
        enough = _record_labels(ledger, plan, labelled, are_due=are_due)
        traffic, quality = logged.counted(with_labels=False), _quality(plan, labelled, with_labels=enough)
        for rule in rules:
            criterion = rule.criterion
            if criterion is None or not LOGGED.issuperset(criterion.definition.series):
                continue
            if LABELLED.isdisjoint(criterion.definition.series):
                _record_rule(ledger, rule, criterion, traffic, last)
            else:
                _record_rule(ledger, rule, criterion, quality, due, may_be_unknown=not are_due)
        _record_drift(ledger, plan, logged, traffic)
        record_production_checks(ledger, plan, logged.rows)
        record_label_suspects(ledger, plan, labelled)
        record_picture_suspects(ledger, plan, logged)
    return ledger.verdict


def _are_due(plan: Plan, labelled: LoggedWindow, now: float) -> bool:
    """Tell whether a window should have its labels by `now`.

    One in which this version answered nothing, such as a version of today in a window of yesterday, has none to wait
    for; that nothing was logged in it was the verdict of the pass that judged its traffic.
    """
    return labelled.rows.height > 0 and now >= labelled.window.end + plan.monitoring.labels.delay


def _quality(plan: Plan, labelled: LoggedWindow, *, with_labels: bool) -> Window:
    """Return the window's series of feedback, and what joined labels say of criteria that no counter can tell."""
    counted, answered = labelled.counted(with_labels=with_labels), labelled.answered
    if answered.is_empty():
        return counted
    quality = quality_of(plan, labelled.window, labelled.target, answered)
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


def _record_labels(ledger: LedgerWriter, plan: Plan, labelled: LoggedWindow, *, are_due: bool) -> bool:
    """Record how many predictions have a label; tell whether they are enough for quality to be judged by them."""
    wanted = plan.monitoring.labels.join_at_least
    rows = labelled.rows.height
    enough = rows > 0 and labelled.join >= wanted
    found = {"rows": rows, "due": are_due, **dict(sorted(labelled.outcomes.items()))}
    ledger.record(
        "label join",
        requirement=f"at least {wanted:g} of the window's predictions have a label once labels are due",
        risk="quality is computed from the few labels that happen to come back",
        qa_method="the first label of each prediction id, however late, against the logged prediction",
        value={"window": str(labelled.window), "broken_lines": labelled.broken_lines, **found},
        verdict=Verdict.PASS if enough else Verdict.UNKNOWN,
        counts=are_due,
    )
    return enough


def _record_rule(
    ledger: LedgerWriter,
    rule: Rule,
    criterion: Criterion,
    counted: Window,
    window: TimeWindow,
    *,
    may_be_unknown: bool = False,
) -> None:
    """Record one criterion; only one that alerts counts, one that only retrains informs the trigger."""
    reading = worst_reading(rule.read(counted))
    verdict, estimate = (reading.verdict, reading.estimate) if reading else (Verdict.UNKNOWN, None)
    alerting = Enforcement.ALERT in criterion.enforce
    ledger.record(
        f"{'alert' if alerting else 'retrain'} {criterion.id}",
        requirement=rule.requirement,
        risk="a model that was good when it was promoted harms its users unseen",
        qa_method=f"the plan's alert rule, on what was logged in {window}",
        value=None if estimate else "too few rows, or too few labels, in the window",
        estimate=estimate,
        criterion=criterion,
        verdict=verdict,
        counts=alerting and not (may_be_unknown and verdict is Verdict.UNKNOWN),
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
