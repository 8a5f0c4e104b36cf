"""What a drill asks of a real Prometheus: whether an alert holds, and when a server was last found ready."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.alerting import past_prometheus

from sextant_components.deployment.drills.dead_pod import Site
from sextant_plan.catalogue import READY

pytestmark = pytest.mark.servers

STEP = 5  # seconds between two scrapes


@pytest.fixture(scope="module")
def now() -> int:
    return int(time.time())


@pytest.fixture(scope="module")
def site(now: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two pods of `parcels`: one was ready until half a minute ago, the next has been scraped since, and never was."""
    folder = tmp_path_factory.mktemp("prometheus")
    lines = [f"# TYPE {READY.name} gauge"]
    for pod, ready, first, last in (("one", 1, 120, 30), ("two", 0, 25, 0)):
        labels = f'pod="{pod}",model="parcels",version="1",variant="blue"'
        lines += [f"{READY.name}{{{labels}}} {ready} {now - ago}" for ago in range(first, last - 1, -STEP)]
    with past_prometheus(folder, lines) as url:
        yield Site(None, "demo", url, "-")  # type: ignore[arg-type]


def test_the_last_scrape_of_a_ready_server_is_told_whatever_came_after(site: Site, now: int) -> None:
    """A scrape that found a server loading is none, and a service that nobody scrapes has none."""
    assert site.last_ready("parcels") == now - 30
    assert site.last_ready("letters") == 0.0


def test_any_expression_that_has_a_series_holds(site: Site) -> None:
    """As an alert does."""
    absent = [f'absent({READY.name}{{model="{model}"}} == 1)' for model in ("parcels", "letters")]
    assert not site.holds(absent[:1])
    assert site.holds(absent)
