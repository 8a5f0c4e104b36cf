"""The watch reads what pods shipped as it reads a server's own logs."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest

from sextant_components.monitoring.log_store import ship_logs
from sextant_monitoring.quality import last_due_window, measure_quality
from sextant_pipelines.commands.watch import ShippedLogs
from sextant_plan.loading import load_plan

PLAN = Path(__file__).parents[2] / "examples" / "parcels" / "plan.yaml"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROWS = 10


@pytest.fixture
def base(tmp_path: Path) -> str:
    """A place in fsspec's store in memory, to which a pod shipped ten labelled predictions, one of them wrong."""
    pod, base = tmp_path / "blue-1", f"memory://{tmp_path.name}"
    (pod / "predictions").mkdir(parents=True)
    (pod / "feedback").mkdir()
    target = {"model": "parcel-labelling", "version": "0123456789ab", "variant": "blue"}
    columns: dict[str, Any] = {name: [value] * ROWS for name, value in target.items()} | {
        "time": [NOON] * ROWS,
        "prediction_id": [str(place) for place in range(ROWS)],
        "label": ["mug"] * ROWS,
        "probability": [0.9] * ROWS,
    }
    pl.DataFrame(columns).write_parquet(pod / "predictions" / "20260301T120000Z-1-aa-000001.parquet")
    labels = [{"prediction_id": str(place), "label": "mug" if place else "tube", "received": NOON.timestamp() + place}
              for place in range(ROWS)]  # fmt: skip
    (pod / "feedback" / "blue-1.jsonl").write_text("".join(json.dumps(each) + "\n" for each in labels), "utf-8")
    ship_logs(pod, f"{base}/parcel-labelling", now=lambda: NOON)
    return base


def test_quality_comes_of_what_pods_shipped(base: str, tmp_path: Path) -> None:
    """A day and an hour later, when the window's labels are due."""
    plan, now = load_plan(PLAN), NOON.timestamp() + 25.5 * 3600
    shipped = ShippedLogs(plan, base, 1, tmp_path / "here")
    assert shipped.fetch(now)
    (found,) = measure_quality(plan, shipped.logs, last_due_window(plan, now))
    assert (found.target, found.due, found.labelled) == (("parcel-labelling", "0123456789ab", "blue"), ROWS, ROWS)
    assert found.qualities["accuracy"].value == 0.9


def test_a_store_that_is_away_keeps_what_was_fetched(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The watch goes on and says why its figures stand still."""
    plan, now = load_plan(PLAN), NOON.timestamp() + 25.5 * 3600
    shipped = ShippedLogs(plan, base, 1, tmp_path / "here")
    shipped.fetch(now)

    def away(*_: Any, **__: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "find", away)
    assert not shipped.fetch(now + 60)
    assert "ConnectionError" in capsys.readouterr().err
    assert len(list(shipped.logs.predictions.iterdir())) == 1


@pytest.fixture
def served() -> Iterator[str]:
    """The address of a server that shows an empty page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Keep the test's output quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_store_is_listed_once_a_window(
    sextant: Callable[..., Any], base: str, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the watch looks; the fetch's time is that of the look."""
    plan, fetch = load_plan(PLAN), ShippedLogs.fetch
    fetched: list[float] = []

    def noted(shipped: ShippedLogs, now: float) -> bool:
        fetched.append(now)
        return fetch(shipped, now)

    monkeypatch.setattr(ShippedLogs, "fetch", noted)
    options = ("--no-probe", "--looks", "4", "--interval", "0.1", "--json")
    result = sextant("watch", PLAN, "--logs", base, "--url", served, *options)
    looks = [float(each) for each in re.findall(r'"at": ([0-9.]+)', result.out)]
    assert len(looks) == 4
    assert fetched[0] == looks[0]
    assert len({last_due_window(plan, now) for now in fetched}) == len(fetched)


def test_one_place_for_the_logs_is_named(sextant: Callable[..., Any], tmp_path: Path) -> None:
    """With both, nobody could tell which one was read."""
    result = sextant("watch", PLAN, "--logs", "s3://logs", "--predictions", tmp_path, "--feedback", tmp_path / "f")
    assert result.code == 2
    assert "--logs stands for --predictions and --feedback" in result.err
