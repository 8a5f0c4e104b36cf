"""The servers' counters from Prometheus: raw values at one time for both arms, never rates."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sextant_plan.window import Matcher, Sample, Selector
from sextant_serving.rollout.pages import CountersUnreadable
from sextant_serving.rollout.ports import Arm, Reading

TIMEOUT_SECONDS = 10
Born = Callable[[], dict[str, float]]


@dataclass(frozen=True)
class PrometheusCounters:
    """The counters of one model's arms.

    `variants` are the values of the label `variant` by arm. All series are read as of `lag` seconds ago, two scrapes
    or more, so that every server has been scraped up to then. `born` returns the start of each pod as Unix time: a pod
    whose server began anew is then another source.
    """

    url: str
    namespace: str
    model: str
    variants: dict[Arm, str]
    wanted: Sequence[str]
    lag: float
    born: Born
    clock: Callable[[], float] = time.time

    def read(self) -> dict[Arm, list[Reading]]:
        """Return both arms' readings. Raises CountersUnreadable."""
        at, starts = self.clock() - self.lag, self.born()
        series = Selector.of("", namespace=self.namespace, model=self.model).where(
            Matcher("__name__", "|".join(self.wanted), regex=True),
            Matcher("variant", "|".join(self.variants.values()), regex=True),
        )
        by_source: dict[tuple[str, str], list[Sample]] = {}
        for found in ask(self.url, series.promql(), at):
            labels = dict(found["metric"])
            sample = Sample(labels.pop("__name__"), labels, float(found["value"][1]))
            pod = labels.get("pod") or labels.get("instance", "")
            if starts.get(pod, at) > at:
                continue  # counted by the process before, under whose name it would be counted twice
            by_source.setdefault((labels.get("variant", ""), pod), []).append(_own(sample))
        return {
            arm: [
                Reading(f"{variant}:{pod}@{starts.get(pod, 0):.0f}", starts.get(pod), tuple(samples))
                for (found_variant, pod), samples in sorted(by_source.items(), key=lambda item: item[0])
                if found_variant == variant
            ]
            for arm, variant in self.variants.items()
        }


def ask(url: str, promql: str, at: float) -> list[dict[str, Any]]:
    """Return the series that an expression has at Unix time `at`. Raises CountersUnreadable."""
    query = urllib.parse.urlencode({"query": promql, "time": f"{at:.3f}"})
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=TIMEOUT_SECONDS) as response:  # noqa: S310 - http(s) by option
            answer = json.load(response)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise CountersUnreadable(url, f"no answer to a query ({type(error).__name__})") from error
    if answer.get("status") != "success" or answer.get("data", {}).get("resultType") != "vector":
        raise CountersUnreadable(url, "not the HTTP API of Prometheus")
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def _own(sample: Sample) -> Sample:
    """Return a sample with the server's own labels, without those that the scrape adds."""
    scraped = {"namespace", "pod", "instance", "job", "container", "endpoint", "node", "service"}
    return Sample(sample.name, {key: value for key, value in sample.labels.items() if key not in scraped}, sample.value)
