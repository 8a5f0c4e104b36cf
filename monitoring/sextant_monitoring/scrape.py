"""Scrapes of a server's metrics page, and the increments between two of them."""

from __future__ import annotations

from dataclasses import dataclass

from sextant_plan.errors import InfrastructureError
from sextant_plan.window import Sample, Window

COUNTER_ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}

SeriesKey = tuple[str, frozenset[tuple[str, str]]]


class ScrapeUnreadable(InfrastructureError):
    """A metrics page that is not in the Prometheus text format."""

    def __init__(self, source: str) -> None:
        super().__init__(f"{source}: not the Prometheus text format 0.0.4. Is this the server's /metrics?")


@dataclass(frozen=True)
class Scrape:
    """One reading of a metrics page: counters and gauges by series, and the Unix time it was read, if known."""

    counters: dict[SeriesKey, float]
    gauges: dict[SeriesKey, float]
    at: float | None = None


def parse_scrape(text: str, source: str = "the metrics page", *, at: float | None = None) -> Scrape:
    """Parse the text format, read at Unix time `at`; series of untyped families count as gauges.

    Raises ScrapeUnreadable.
    """
    from prometheus_client.parser import text_string_to_metric_families

    counters: dict[SeriesKey, float] = {}
    gauges: dict[SeriesKey, float] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                cumulative = sample.name.endswith(COUNTER_ENDINGS.get(family.type, ()))
                store = counters if cumulative else gauges
                store[sample.name, frozenset(sample.labels.items())] = float(sample.value)
    except (ValueError, KeyError, IndexError) as error:
        raise ScrapeUnreadable(source) from error
    return Scrape(counters, gauges, at)


def window_between(before: Scrape, after: Scrape) -> Window:
    """Return the increments of the counters, and the gauges as of `after`, of one server process.

    A counter that fell means that the process began anew, and then every counter of `after` counts from 0:
    judging each alone would miss those that have already overtaken their old value. A series that `before`
    lacks was born in between and counts from 0; one that `after` lacks is gone.
    """
    restarted = any(after.counters.get(key, value) < value for key, value in before.counters.items())
    base = {} if restarted else before.counters
    increments = [Sample(key[0], dict(key[1]), value - base.get(key, 0.0)) for key, value in after.counters.items()]
    gauges = [Sample(name, dict(labels), value) for (name, labels), value in after.gauges.items()]
    seconds = after.at - before.at if after.at is not None and before.at is not None else None
    return Window((*increments, *gauges), after.at, seconds)
