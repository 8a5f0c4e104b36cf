"""The watch step: one bounded pass over the server in service, by the rules that Prometheus runs for ever.

The server that `active.json` names is started as it would be in production, the valid split is sent to it as
live traffic, and the two scrapes around it are judged. Rows are judged over a pass that sends each once, because
a repeated row is no new evidence; requests are judged over further passes too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sextant_components.deployment.replay import Replay, live_rows, send_more, send_rows
from sextant_components.runs.context import RunContext, Step
from sextant_monitoring.launcher import TimeWindow
from sextant_monitoring.quality import quality_of
from sextant_monitoring.scrape import parse_scrape, window_between
from sextant_monitoring.watcher import quality_samples
from sextant_plan.alerts import Reading, Rule
from sextant_plan.catalogue import COMMON_LABELS, FALLBACK_REASONS, FALLBACKS, PREDICTIONS, Enforcement
from sextant_plan.drift_rule import DriftRule, FeatureDrift, drift_by_feature
from sextant_plan.drills import last_drills
from sextant_plan.ledger import LedgerWriter
from sextant_plan.prediction_log import INPUT_PREFIX
from sextant_plan.presence_rules import ReadyRule
from sextant_plan.promotion import ActiveModel
from sextant_plan.quality_rule import QualityRule
from sextant_plan.rules import compile_rules
from sextant_plan.schema import Plan
from sextant_plan.share_rule import ShareRule, worst_reading
from sextant_plan.statistics.multiplicity import benjamini_hochberg
from sextant_plan.threshold_rule import ThresholdRule
from sextant_plan.verdicts import Verdict
from sextant_plan.window import Matcher, Selector, Target, Window

LABEL_EVERY = 2  # the other half stays unlabelled, as most rows do in production
SLACK = 3  # times the rows that a faultless server needs: forgives two slow requests of a p99's limit
MAX_REQUESTS = 5000  # a bounded pass: half a minute at 6 ms a request
WITHOUT_CRITERION_Z = 3.0  # standard errors of the bounds on drift where the plan sets no limit
SERVER_LOG = "watch-server.log"


@dataclass(frozen=True)
class Watched:
    """What was seen: the window of single rows, the whole window, what labels say, and the pages that were read."""

    rows: Window
    requests: Window
    labelled: Window
    pages: dict[str, str]
    replay: Replay
    target: Target

    def window_of(self, rule: Rule) -> Window:
        """Return the window that a rule is judged over."""
        if isinstance(rule, QualityRule):
            return self.labelled
        by_request = rule.criterion is not None and rule.criterion.definition.by_request
        return self.requests if by_request else self.rows


def run_watch(context: RunContext, *, snapshot: Path, splits: Path) -> Verdict:
    """Watch the active server for one pass and record a verdict for each criterion that alerts.

    Without an active model everything is unknown. Raises UsageError as `compile_rules` does, and
    ServerDidNotStart.
    """
    from sextant_serving.errors import NothingActive
    from sextant_serving.home import served_model

    rules = compile_rules(context.plan)
    with context.ledger(Step.WATCH) as ledger:
        try:
            active = served_model(context.home)
        except NothingActive as error:
            _record_silence(ledger, str(error))
            return ledger.verdict
        watched = _watch(context, active, rules, snapshot=snapshot, splits=splits)
        artifacts = {name: ledger.artifacts.put_bytes(page.encode()) for name, page in watched.pages.items()}
        _record_replay(ledger, watched, artifacts)
        for rule in rules:
            if rule.criterion is None and not isinstance(rule, ReadyRule):
                continue  # lasting failures, objectives and restarts are judged over hours, which one pass is not
            _record_rule(ledger, rule, watched, artifacts)
        _record_drift(ledger, context.plan, rules, watched)
        _record_fallbacks(ledger, context.plan, watched)
        _record_labels(ledger, watched.replay)
        _record_drills(ledger, context)
    return ledger.verdict


def _watch(context: RunContext, active: ActiveModel, rules: list[Rule], *, snapshot: Path, splits: Path) -> Watched:
    from sextant_plan.bundle import read_bundle
    from sextant_serving.launch import running_server

    spec = read_bundle(Path(active.bundle))
    rows = live_rows(context.plan, spec, snapshot=snapshot, splits=splits, name="valid")[:MAX_REQUESTS]
    replay, pages, times = Replay(), {}, {}
    with running_server(home=context.home, log=context.run / SERVER_LOG) as server, server.client() as client:
        times["before"], pages["before"] = time.time(), client.metrics_text()
        send_rows(client, rows, replay, label_every=LABEL_EVERY)
        times["rows"], pages["rows"] = time.time(), client.metrics_text()
        send_more(client, rows, replay, total=requests_needed(rules))
        times["requests"], pages["requests"] = time.time(), client.metrics_text()
    before, after_rows, after_requests = (
        parse_scrape(pages[name], f"{server.url}/metrics", at=times[name]) for name in ("before", "rows", "requests")
    )
    target = (active.name, active.version, "stable")
    rows_window = window_between(before, after_rows)
    labelled = _labelled(context.plan, replay, target, TimeWindow(times["before"], times["rows"]))
    return Watched(rows_window, window_between(before, after_requests), labelled, pages, replay, target)


def _labelled(plan: Plan, replay: Replay, target: Target, span: TimeWindow) -> Window:
    """Return what the pass's own labels say of criteria that the server's counters cannot tell.

    A pass labels a part of its rows on purpose, so the join rate is that of the rows whose label it sent.
    """
    import polars as pl

    rows = [
        {"label": said, "truth": row.label, "probability": None}
        | {INPUT_PREFIX + name: None if value is None else str(value) for name, value in row.fields.items()}
        for row, said in replay.labelled
        if said is not None
    ]
    if not rows:
        return Window(())
    return Window(tuple(quality_samples(plan, quality_of(plan, span, target, pl.DataFrame(rows)))))


def requests_needed(rules: list[Rule]) -> int:
    """Return how many requests give every rule that is judged by requests enough to pass on."""
    needed = [
        SLACK * rule.rows_to_prove()
        for rule in rules
        if isinstance(rule, ShareRule) and rule.criterion.definition.by_request
    ]
    return min(max(needed, default=0), MAX_REQUESTS)


def _record_silence(ledger: LedgerWriter, reason: str) -> None:
    ledger.record(
        "service",
        requirement="a promoted model is in service",
        risk="monitoring is green because there is nothing to monitor",
        qa_method="active.json of the home is read",
        value=reason,
        verdict=Verdict.UNKNOWN,
    )


def _record_replay(ledger: LedgerWriter, watched: Watched, artifacts: Mapping[str, str]) -> None:
    ledger.record(
        "live traffic",
        requirement="the server answers the rows of the valid split",
        risk="what is judged below was judged on refused requests",
        qa_method="original pictures and raw columns are sent over HTTP to the server that active.json names",
        value={
            "version": watched.target[1],
            "statuses": {str(code): count for code, count in sorted(watched.replay.statuses.items())},
        },
        verdict=Verdict.PASS if watched.replay.statuses[200] else Verdict.FAIL,
        artifacts=artifacts,
    )


def _record_rule(ledger: LedgerWriter, rule: Rule, watched: Watched, artifacts: Mapping[str, str]) -> None:
    """Record one rule. Only a criterion that alerts counts; one that only retrains informs the next run.

    What a pass on this machine does not show is unknown and does not count against it.
    """
    criterion = rule.criterion
    reading = worst_reading([each for each in rule.read(watched.window_of(rule)) if _is_of(each.target, watched)])
    verdict = reading.verdict if reading else Verdict.UNKNOWN
    estimate = reading.estimate if reading else None
    alerting = criterion is None or Enforcement.ALERT in criterion.enforce
    task, reason = "presence", None
    if criterion is not None:
        task = f"{'alert' if alerting else 'retrain'} {criterion.id}"
    if criterion is not None and estimate is None:
        reason = "too few rows in the window" if reading else "the server shows no series of the served version"
    ledger.record(
        task,
        requirement=rule.requirement,
        risk="a model that was good when it was promoted harms its users unseen",
        qa_method="the plan's alert rule, on the increments of the server's counters between two scrapes",
        value=reason,
        estimate=estimate,
        criterion=criterion if alerting else None,
        verdict=verdict,
        artifacts=artifacts,
        counts=alerting and not _is_for_later(rule, reading),
    )


def _is_for_later(rule: Rule, reading: Reading | None) -> bool:
    """Tell whether a rule waits for what a pass on this machine has not: more labels, a probe, a GPU."""
    if isinstance(rule, QualityRule):
        return reading is None or reading.verdict is Verdict.UNKNOWN
    return reading is None and isinstance(rule, ThresholdRule)


def _is_of(target: Target, watched: Watched) -> bool:
    """Tell whether a reading is of the served version; one of the whole model leaves the version empty."""
    return all(found in ("", wanted) for found, wanted in zip(target, watched.target, strict=True))


def _record_drift(ledger: LedgerWriter, plan: Plan, rules: list[Rule], watched: Watched) -> None:
    z = next((rule.z for rule in rules if isinstance(rule, DriftRule)), WITHOUT_CRITERION_Z)
    drifts = drift_by_feature(watched.rows, plan.name, watched.target, z)
    adjusted = benjamini_hochberg([drift.p_value for drift in drifts])
    ledger.record(
        "drift by feature",
        requirement="each input's shift against the training rows is known",
        risk="one drifting input hides in an aggregate",
        qa_method="bias-corrected stability index over the server's bins, with Pearson's chi-square beside it, "
        "its p-values adjusted for all features (Benjamini and Hochberg)",
        value={drift.feature: _described(drift, float(p)) for drift, p in zip(drifts, adjusted, strict=True)},
        verdict=Verdict.PASS if drifts else Verdict.UNKNOWN,
        counts=False,
    )


def _described(drift: FeatureDrift, adjusted: float) -> dict[str, Any]:
    """Return one feature's drift as JSON values; a chi-square without bound is null."""
    return {
        "psi": drift.estimate.value,
        "low": drift.estimate.low,
        "high": drift.estimate.high,
        "rows": drift.estimate.n,
        "chi_square": drift.chi_square if math.isfinite(drift.chi_square) else None,
        "p_value": drift.p_value,
        "p_adjusted": adjusted,
    }


def _record_fallbacks(ledger: LedgerWriter, plan: Plan, watched: Watched) -> None:
    labels = dict(zip(COMMON_LABELS, watched.target, strict=True))
    fallbacks, answered = Selector.of(FALLBACKS.name, **labels), Selector.of(PREDICTIONS.name, **labels)
    counts = {reason: _total(watched.rows, fallbacks.where(Matcher("reason", reason))) for reason in FALLBACK_REASONS}
    ledger.record(
        "fallbacks",
        requirement="how often each fallback answers is known",
        risk=f"{plan.name} lives on its fallbacks and nobody notices",
        qa_method="the server's counters over the pass that sends each row once",
        value={"answered": _total(watched.rows, answered), **counts},
        verdict=Verdict.PASS,
        counts=False,
    )


def _total(window: Window, selector: Selector) -> float:
    return sum(sample.value for sample in window.select(selector))


def _record_labels(ledger: LedgerWriter, replay: Replay) -> None:
    sent = replay.outcomes.total()
    joined = sent - replay.outcomes["unmatched"] - replay.outcomes["repeated"]
    verdict = Verdict.UNKNOWN if sent == 0 else Verdict.PASS if joined == sent else Verdict.FAIL
    ledger.record(
        "label join",
        requirement="every label that comes back finds its prediction",
        risk="live quality is computed from the few labels that happen to match",
        qa_method="labels of every second row are sent to /feedback by prediction id",
        value={"sent": sent, "joined": joined, **dict(sorted(replay.outcomes.items()))},
        verdict=verdict,
    )


def _record_drills(ledger: LedgerWriter, context: RunContext) -> None:
    """Record the last drill of each kind; what a promotion asks of them was checked before this version was live."""
    for name, held in last_drills(context.home, context.plan.name).items():
        ledger.record(
            f"drill {name}",
            requirement="the failure is noticed, and over within the time that the plan allows",
            risk="the first outage is the first time that anybody tries the way out of it",
            qa_method=f"the failure was caused for real: {held.outcome.fault}",
            value={
                "noticed after, s": held.outcome.detected_after,
                "over after, s": held.outcome.recovered_after,
                "noticed by": held.outcome.detected_by,
                "profile": held.outcome.profile,
                "held": held.time,
            },
            verdict=held.verdict,
            counts=False,
        )
