"""What was scraped of a server over time, kept as long as the longest window that a rule reads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import pairwise

from sextant_monitoring.scrape import Scrape, SeriesKey, window_between
from sextant_plan.window import Sample, Window


class History:
    """Scrapes in the order of their times; windows are read from them as Prometheus would.

    The increments between neighbouring scrapes are added up, so that a restart inside a window loses nothing.
    """

    def __init__(self, keep: float) -> None:
        """Keep scrapes for `keep` seconds."""
        self._keep = keep
        self._scrapes: deque[Scrape] = deque()

    def add(self, scrape: Scrape) -> None:
        """Add the newest scrape, which has its time; those older than all windows make way."""
        assert scrape.at is not None
        self._scrapes.append(scrape)
        while len(self._scrapes) > 2 and _time(self._scrapes[1]) <= scrape.at - self._keep:
            self._scrapes.popleft()

    @property
    def seconds(self) -> float:
        """How long was watched."""
        return _time(self._scrapes[-1]) - _time(self._scrapes[0]) if self._scrapes else 0.0

    def window(self, seconds: float, others: Iterable[float] = ()) -> Window | None:
        """Return the latest window of a length, with others that end with it; None where two scrapes are missing.

        A window that was not watched to its full length is as long as what was; those among `others` are left out.
        """
        if len(self._scrapes) < 2:
            return None
        longer = {span: self._span(span) for span in others if span <= self.seconds}
        found = self._span(seconds)
        return Window(found.samples, found.end, seconds if self.seconds >= seconds else found.seconds, longer)

    def _span(self, seconds: float) -> Window:
        last = self._scrapes[-1]
        begin = _time(last) - seconds
        inside = [scrape for scrape in self._scrapes if _time(scrape) >= begin]
        if len(inside) < 2:
            inside = list(self._scrapes)[-2:]
        total: dict[SeriesKey, float] = {}
        for before, after in pairwise(inside):
            for sample in window_between(before, after).samples:
                key = (sample.name, frozenset(sample.labels.items()))
                total[key] = sample.value if key in after.gauges else total.get(key, 0.0) + sample.value
        gone = {key for key in total if key not in last.gauges and key not in last.counters}
        samples = tuple(Sample(name, dict(labels), total[name, labels]) for name, labels in total.keys() - gone)
        return Window(samples, last.at, _time(last) - _time(inside[0]))


def _time(scrape: Scrape) -> float:
    assert scrape.at is not None, "a history keeps scrapes with their times"
    return scrape.at
