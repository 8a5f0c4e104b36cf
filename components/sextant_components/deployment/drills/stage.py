"""The stage of a drill on one machine: servers of its own on the bundle in service, and clients who never stop asking.

Nothing that is in service is touched: a drill starts its own servers and works on copies.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_components.data.tables import read_snapshot
from sextant_components.deployment.replay import LiveRow, live_rows
from sextant_monitoring.scrape import Scrape, parse_scrape
from sextant_plan.bundle import BundleSpec, read_bundle
from sextant_plan.errors import UsageError
from sextant_plan.promotion import ActiveModel
from sextant_plan.schema import Plan

if TYPE_CHECKING:
    from sextant_serving.client import Client
    from sextant_serving.launch import Server

CLIENTS = 8
WAIT_SECONDS = 180.0  # for what a drill waits for; a rule needs a few hundred requests, at most a second each
POLL_SECONDS = 0.2
CLIENT_TIMEOUT = 30.0
IN_USE = 200  # requests before the fault


@dataclass(frozen=True)
class Stage:
    """What every drill has: the plan, the model in service, rows as clients send them, and a folder to work in.

    `database` is the registry's PostgreSQL, None where the registry is the home's own; `store` is where runs lie in an
    object store, None where they lie in the home.
    """

    plan: Plan
    home: Path
    active: ActiveModel
    spec: BundleSpec
    rows: Sequence[LiveRow]
    scratch: Path
    database: str | None = None
    store: str | None = None

    @property
    def bundle(self) -> Path:
        """The bundle in service."""
        return Path(self.active.bundle)

    @property
    def feature_repo(self) -> Path | None:
        """Its feature repository, None where it reads no features."""
        return Path(self.active.feature_repo) if self.active.feature_repo else None


def open_stage(
    plan: Plan, home: Path, scratch: Path, *, database: str | None = None, store: str | None = None
) -> Stage:
    """Return the stage of the model in service. Raises UsageError if it is of another plan, and NothingActive."""
    from sextant_serving.home import served_model

    active = served_model(home)
    if active.name != plan.name:
        raise UsageError(f"{home}: {active.name} is in service here, and the plan is of {plan.name}. Name its home.")
    spec = read_bundle(Path(active.bundle))
    return Stage(plan, home, active, spec, _rows(plan, home, spec), scratch, database, store)


def _rows(plan: Plan, home: Path, spec: BundleSpec) -> list[LiveRow]:
    """Return the valid split of the run whose data the bundle was trained on. Raises UsageError if it is gone."""
    for snapshot in sorted((home / "runs").glob("*/pipeline/*/ingest/snapshot"), reverse=True):
        splits = snapshot.parents[1] / "prepare" / "splits"
        if splits.is_dir() and read_snapshot(snapshot).data_hash == spec.data_hash:
            return live_rows(plan, spec, snapshot=snapshot, splits=splits, name="valid")
    raise UsageError(
        f"{home / 'runs'}: no run holds the data that the model in service was trained on, so there are no requests to "
        "send. Run the plan here again: sextant run."
    )


def send(client: Client, row: LiveRow) -> None:
    """Send one row as a client does. Raises Refused."""
    if row.picture is not None:
        client.infer_picture(row.picture, row.fields)
    else:
        client.predict_v1([row.fields])


@dataclass
class Load:
    """Clients that ask one address after the other answer; `url` may change, as a gateway's backend does."""

    stage: Stage
    url: str
    requests: int = 0
    failed: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, place: int) -> None:
        """Ask until stopped, the rows in turn."""
        from sextant_serving.client import Client, Refused

        rows, url, client = self.stage.rows, "", None
        for number in count(place, CLIENTS):
            if self._stop.is_set():
                break
            if client is None or url != self.url:
                if client is not None:
                    client.close()
                url = self.url
                client = Client(url, self.stage.active.name, timeout=CLIENT_TIMEOUT)
            failed = False
            try:
                send(client, rows[number % len(rows)])
            except Refused as error:
                failed = error.status >= 500
            except (OSError, http.client.HTTPException):
                failed = True
            with self._lock:
                self.requests += 1
                self.failed += failed
            if failed:
                self._stop.wait(0.01)  # a dead server refuses at once; its clients are no denial of service
        if client is not None:
            client.close()

    def wait_for(self, requests: int) -> None:
        """Return once so many requests were answered or failed, so that the fault meets a service in use."""
        while self.requests < requests:
            time.sleep(POLL_SECONDS / 10)

    def stop(self) -> None:
        """Let every client end after its answer."""
        self._stop.set()


@contextmanager
def asking(stage: Stage, url: str) -> Iterator[Load]:
    """Have clients ask an address for the duration of the block."""
    load = Load(stage, url)
    threads = [threading.Thread(target=load.run, args=(place,), daemon=True) for place in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop()
        for thread in threads:
            thread.join()


@contextmanager
def serving(
    stage: Stage,
    *,
    bundle: Path | None = None,
    feature_repo: Path | None = None,
    program: Sequence[str] = ("sextant_serving",),
) -> Iterator[Server]:
    """Serve the bundle in service, or another, under the model's name for the duration of the block.

    `program` is the module that serves and its own first arguments.
    """
    from sextant_serving.launch import running_server

    repo = feature_repo or stage.feature_repo
    name = ["--model-name", stage.active.name]
    with running_server(bundle=bundle or stage.bundle, feature_repo=repo, arguments=name, program=program) as server:
        yield server


def scrape(url: str) -> Scrape | None:
    """Read a server's metrics page; None if it does not answer, as for a Prometheus whose target is down."""
    from sextant_serving.client import Client

    with suppress(OSError, http.client.HTTPException), Client(url, timeout=CLIENT_TIMEOUT) as client:
        text = client.metrics_text()
        return parse_scrape(text, f"{url}/metrics", at=time.time())
    return None


def seconds_until(holds: Callable[[], bool], *, since: float, limit: float = WAIT_SECONDS) -> float | None:
    """Return how many seconds after `since` (monotonic) something held, None if it did not within `limit`."""
    while time.monotonic() - since < limit:
        if holds():
            return time.monotonic() - since
        time.sleep(POLL_SECONDS)
    return None
