"""Drill feature-store-down: the online store loses its tables under a running server, and gets them back."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sextant_components.data.features.feature_store import REPOSITORY_FILE
from sextant_components.deployment.drills.detectors import Detector
from sextant_components.deployment.drills.result import Result
from sextant_components.deployment.drills.stage import IN_USE, Stage, asking, scrape, seconds_until, serving
from sextant_plan.errors import UsageError

ONLINE_FILE = "online.db"
AWAY = "__away"


def rehearse(stage: Stage, detector: Detector) -> Result:
    """Take the tables from a copy of the online store, which a server of the drill's own reads, and bring them back."""
    repo = copied_repo(stage)
    online = repo / ONLINE_FILE
    with serving(stage, feature_repo=repo) as server, asking(stage, server.url) as load:
        load.wait_for(IN_USE)
        before = scrape(server.url)
        assert before is not None
        began = time.monotonic()
        _rename_tables(online, _away)
        detected = seconds_until(lambda: detector.fires(before, scrape(server.url)), since=began)
        failed_meanwhile = load.failed
        _rename_tables(online, _back)

        def is_over() -> bool:
            start = scrape(server.url)
            asked = load.requests
            time.sleep(0.5)
            # What was in flight when the store came back may still fall back, so that a window of its own is read.
            return start is not None and load.requests > asked and not detector.fires(start, scrape(server.url))

        recovered = seconds_until(is_over, since=began)
    return Result(
        fault="the online store has no tables",
        detected_after=detected,
        recovery="the store is back; the server looks features up again by itself",
        recovered_after=recovered,
        requests=load.requests,
        failed=load.failed,
        facts={"failed while the store was away": failed_meanwhile},
    )


def _away(name: str) -> str:
    return name + AWAY


def _back(name: str) -> str:
    return name.removesuffix(AWAY)


def _rename_tables(database: Path, renamed: Callable[[str], str]) -> None:
    """Rename every table in one transaction, which other connections see; swapping the file, they would not."""
    with closing(sqlite3.connect(database)) as connection, connection:
        tables = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
        for (name,) in tables:
            connection.execute(f'alter table "{name}" rename to "{renamed(name)}"')


def copied_repo(stage: Stage) -> Path:
    """Return a copy of the feature repository that reads its own files. Raises UsageError if there is none on files."""
    source = stage.feature_repo
    if source is None or not (source / ONLINE_FILE).is_file():
        raise UsageError(
            f"{stage.home}: the model in service reads no features from a store on files. "
            "A Redis or a PostgreSQL is stopped and restored by its own means; this drill cannot do it."
        )
    target = stage.scratch / "feast"
    shutil.copytree(source, target)
    settings = (target / REPOSITORY_FILE).read_text(encoding="utf-8")
    (target / REPOSITORY_FILE).write_text(settings.replace(str(source), str(target)), encoding="utf-8")
    return target
