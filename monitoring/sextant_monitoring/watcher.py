"""Watching one server: each look scrapes it, judges every rule of the plan, asks the golden requests, joins labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sextant_monitoring.ageing import LossPerDay, loss_samples
from sextant_monitoring.history import History
from sextant_monitoring.http import get_text
from sextant_monitoring.launcher import TimeWindow
from sextant_monitoring.probe import Prober, ProbeResult
from sextant_monitoring.quality import LabelLogs, WindowQuality, last_due_window, measure_quality
from sextant_monitoring.scrape import parse_scrape
from sextant_plan.alerts import VERDICT_LEVELS, Reading, Rule
from sextant_plan.burn_rule import BurnRule
from sextant_plan.catalogue import COMMON_LABELS, MODEL_CREATED
from sextant_plan.catalogue.watching import (
    LABEL_JOIN,
    LABELLED_ROWS,
    PREDICTION_BIAS,
    PREDICTION_BIAS_ERROR,
    PROBE_SUCCESS,
    QUALITY_ROWS,
)
from sextant_plan.platform_rules import RESTART_WINDOW
from sextant_plan.presence_rules import ReadyRule
from sextant_plan.quality_rule import series_of
from sextant_plan.rules import compile_rules
from sextant_plan.schema import Plan
from sextant_plan.thresholds import change_before
from sextant_plan.verdicts import Verdict, worst
from sextant_plan.window import Sample, Selector, Target, Window


@dataclass(frozen=True)
class Judged:
    """One rule and what it says of each target."""

    rule: Rule
    readings: list[Reading]

    @property
    def name(self) -> str:
        """The criterion's id, or what is required."""
        if isinstance(self.rule, BurnRule):
            return f"objective {self.rule.objective}"
        return self.rule.criterion.id if self.rule.criterion is not None else self.rule.requirement

    @property
    def worst(self) -> Reading | None:
        """The reading that decides; None where nothing was seen."""
        return min(self.readings, key=lambda reading: VERDICT_LEVELS[reading.verdict], default=None)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict; unknown where nothing was seen."""
        return self.worst.verdict if self.worst is not None else Verdict.UNKNOWN


@dataclass(frozen=True)
class Look:
    """What was found at one time (Unix seconds), over a window of so many seconds."""

    at: float
    seconds: float
    judged: list[Judged]
    quality: list[WindowQuality] = field(default_factory=list)
    probed: ProbeResult | None = None
    ageing: list[Sample] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the plan's criteria and of readiness.

        Objectives over days and faults of pods count once they fail: a look on a laptop sees neither.
        """
        asked = (each for each in self.judged if each.rule.criterion is not None or isinstance(each.rule, ReadyRule))
        failed = (each for each in self.judged if each.verdict is Verdict.FAIL)
        return worst(each.verdict for each in (*asked, *failed))


class Watcher:
    """Watches the server at `url` by a plan; with `logs` also its quality, with `prober` its golden answers.

    `fetch` brings logs that lie elsewhere up to a Unix time: it is called when a window's labels have become due and
    tells whether it could; where it could not, the figures of the window before stand until the next look. `ageing` is
    what age costs the model by its run's staleness curve. A new version takes a new `prober`.
    """

    def __init__(
        self,
        plan: Plan,
        url: str,
        *,
        logs: LabelLogs | None = None,
        fetch: Callable[[float], bool] | None = None,
        prober: Prober | None = None,
        ageing: LossPerDay | None = None,
        token: str | None = None,
    ) -> None:
        self.plan, self.url = plan, url.rstrip("/")
        self._logs, self._fetch, self.prober, self._ageing, self._token = logs, fetch, prober, ageing, token
        self._rules = compile_rules(plan)
        burns = {span for rule in self._rules if isinstance(rule, BurnRule) for span in rule.spans}
        self._spans = burns | {change_before(plan), RESTART_WINDOW}
        self._history = History(max(self._spans | {plan.monitoring.window}))
        self._due: TimeWindow | None = None  # whose logs were fetched
        self._quality: list[WindowQuality] = []

    def look(self, now: float) -> Look:
        """Scrape and judge at Unix time `now`. Raises ServerSilent, ScrapeUnreadable."""
        page = f"{self.url}/metrics"
        self._history.add(parse_scrape(get_text(page, self._token), page, at=now))
        probed = self.prober.probe(now) if self.prober is not None else None
        if self._logs is not None:
            self._judge_labels(self._logs, now)
        window = self._history.window(self.plan.monitoring.window, self._spans)
        if window is None:
            return Look(now, 0.0, [Judged(rule, []) for rule in self._rules], self._quality, probed)
        ageing = loss_samples(self._ageing, window) if self._ageing is not None else []
        own = (*own_samples(self.plan, self._quality, probed), *ageing)
        seen = Window(window.samples + own, window.end, window.seconds, window.others)
        judged = [Judged(rule, rule.read(seen)) for rule in self._rules]
        return Look(now, self._history.seconds, judged, self._quality, probed, ageing)

    def _judge_labels(self, logs: LabelLogs, now: float) -> None:
        """Have the quality of the last window whose labels are due at `now`: once, by logs that are as of then."""
        due = last_due_window(self.plan, now)
        if due != self._due:
            if self._fetch is not None and not self._fetch(now):
                return
            self._due, self._quality = due, []
        if not self._quality:  # a server may complete the file of a window after its labels were due
            self._quality = measure_quality(self.plan, logs, due)

    def sealed(self) -> dict[str, float]:
        """Return the Unix time at which each version that the last scrape shows was sealed."""
        window = self._history.window(0.0)
        created = window.select(Selector.of(MODEL_CREATED.name)) if window is not None else []
        return {sample.labels["version"]: sample.value for sample in created}

    def look_in_vain(self, now: float) -> Look:
        """Judge at Unix time `now` a server that gave no page: none is ready, golden requests are asked in vain."""
        probed = self.prober.probe(now) if self.prober is not None else None
        seen = Window(own_samples(self.plan, [], probed))
        judged = [Judged(rule, rule.read(seen) if _needs_no_page(rule) else []) for rule in self._rules]
        return Look(now, 0.0, judged, probed=probed)


def _needs_no_page(rule: Rule) -> bool:
    """Tell whether a rule reads nothing of the server's own page, or reads its absence."""
    probing = rule.criterion is not None and rule.criterion.metric == "probe_success"
    return probing or isinstance(rule, ReadyRule)


def own_samples(plan: Plan, quality: list[WindowQuality], probed: ProbeResult | None) -> tuple[Sample, ...]:
    """Return the series of quality and probe that rules read, as the exporter shows them to Prometheus."""
    samples: list[Sample] = []
    if probed is not None:
        target = (plan.name, probed.version, "stable")
        samples.append(_sample(PROBE_SUCCESS.name, target, probed.success))
    for each in quality:
        samples.append(_sample(LABELLED_ROWS.name, each.target, each.labelled))
        for series, of_classes in ((PREDICTION_BIAS, each.bias), (PREDICTION_BIAS_ERROR, each.bias_errors)):
            samples += [
                _sample(series.name, each.target, value, **{"class": name}) for name, value in of_classes.items()
            ]
        samples += quality_samples(plan, each)
    return tuple(samples)


def quality_samples(plan: Plan, quality: WindowQuality) -> Iterator[Sample]:
    """Yield the join rate, and what a window's labels say of each criterion: value, bounds, the rows behind them."""
    yield _sample(LABEL_JOIN.name, quality.target, quality.join_rate)
    for criterion in plan.criteria:
        estimate = quality.qualities.get(criterion.id)
        if estimate is None:
            continue
        name = series_of(criterion).name
        for bound, value in (("value", estimate.value), ("low", estimate.low), ("high", estimate.high)):
            yield _sample(name, quality.target, value, criterion=criterion.id, bound=bound)
        yield _sample(QUALITY_ROWS.name, quality.target, estimate.n, criterion=criterion.id)


def _sample(name: str, target: Target, value: float, **labels: str) -> Sample:
    return Sample(name, {**dict(zip(COMMON_LABELS, target, strict=True)), **labels}, float(value))
