"""The servers' counters as a real Prometheus gives them, of pods whose starts Kubernetes tells."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.alerting import past_prometheus

from sextant_serving.rollout.ports import Reading
from sextant_serving.rollout.prometheus import PrometheusCounters

pytestmark = pytest.mark.servers

BEGAN = 1_750_000_000
LAG = 30.0
SERIES = "sextant_requests_total"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Ten minutes of two pods, one request a second each, scraped every fifteen seconds."""
    folder = tmp_path_factory.mktemp("prometheus")
    lines = [f"# TYPE {SERIES.removesuffix('_total')} counter"]
    for pod, variant in (("one", "blue"), ("two", "green")):
        labels = f'namespace="ns",pod="{pod}",model="parcels",version="1",variant="{variant}",code="200"'
        lines += [f"{SERIES}{{{labels}}} {second} {BEGAN + second}" for second in range(0, 601, 15)]
    with past_prometheus(folder, lines) as address:
        yield address


def read(url: str, starts: dict[str, float], *, at: float) -> dict[str, list[Reading]]:
    variants = {"stable": "blue", "canary": "green"}
    counters = PrometheusCounters(url, "ns", "parcels", variants, [SERIES], LAG, lambda: starts, lambda: at)  # type: ignore[arg-type]
    return {str(arm): readings for arm, readings in counters.read().items()}


def test_both_arms_are_read_as_of_the_same_moment(url: str) -> None:
    """Half a minute ago, when every server has been scraped; each under the name of its pod and its start."""
    found = read(url, {"one": BEGAN - 5.0, "two": BEGAN - 7.0}, at=BEGAN + 330.0)
    (stable,), (canary,) = found["stable"], found["canary"]
    assert (stable.source, stable.born) == (f"blue:one@{BEGAN - 5}", BEGAN - 5.0)
    assert (canary.source, canary.samples[0].value) == (f"green:two@{BEGAN - 7}", 300.0)
    assert canary.samples[0].labels["code"] == "200"


def test_what_the_process_before_counted_is_not_its_successors(url: str) -> None:
    """A container that began anew ten seconds ago has counted nothing half a minute ago; its pod's name is the same."""
    found = read(url, {"one": BEGAN - 5.0, "two": BEGAN + 320.0}, at=BEGAN + 330.0)
    assert [len(found[arm]) for arm in ("stable", "canary")] == [1, 0]
