"""The staleness curve: a moving world gives a date, one that stands still gives none, and the plan's age is judged."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sextant_components.context import RunContext, Step
from sextant_components.staleness import decline, record_staleness
from sextant_monitoring.ageing import read_loss_per_day
from sextant_plan.ledger import Record, read_run
from sextant_plan.schema import Staleness
from sextant_plan.verdicts import Verdict


def test_a_steady_fall_gives_the_day_at_which_the_tolerated_share_is_lost() -> None:
    """Half a percent a day is found within its bounds, and two percent are lost after about four days."""
    generator = np.random.default_rng(3)
    ages = np.sort(generator.uniform(0, 60, 4000))
    found = decline(ages, generator.random(4000) < 0.95 - 0.005 * ages)
    assert found.low < 0.005 < found.high
    due = found.due_days(0.02)
    assert due == pytest.approx(4.0, rel=0.2)


def test_no_fall_gives_no_day_in_most_samples() -> None:
    """Where nothing falls a loss is proved in at most one sample in twenty, within three sigma of 400."""
    generator, proved = np.random.default_rng(4), 0
    for _ in range(400):
        ages = generator.uniform(0, 60, 500)
        proved += decline(ages, generator.random(500) < 0.9).due_days(0.02) is not None
    assert proved <= 400 * 0.05 + 3 * np.sqrt(400 * 0.05 * 0.95)


@pytest.fixture
def aged(bars: Any, tmp_path: Path) -> Path:
    """The splits with a time a row, one a day, in which the labels of the newer half turn more and more."""
    splits: Path = shutil.copytree(bars.splits, tmp_path / "splits")
    generator = np.random.default_rng(5)
    for name in ("train", "valid"):
        rows = pl.read_parquet(splits / f"{name}.parquet")
        days = np.linspace(0, 200, rows.height)
        index = rows["label_index"].to_numpy().copy()
        turned = generator.random(rows.height) < np.clip((days - 100) / 100, 0, 1)
        index[turned] = (index[turned] + 1) % 3
        start = datetime(2026, 1, 1, tzinfo=UTC)
        times = [start + timedelta(days=float(day)) for day in days]
        rows.with_columns(pl.Series("seen", times), pl.Series("label_index", index)).write_parquet(
            splits / f"{name}.parquet"
        )
    return splits


def _recorded(context: RunContext) -> Record:
    (record,) = [each for each in read_run(context.run)["evaluate"] if each.task == "staleness"]
    return record


def test_an_age_that_costs_more_than_tolerated_fails(
    made: Any, bars: Any, aged: Path, open_run_at: Any, tmp_path: Path
) -> None:
    """The curve falls, the day is before the plan's 90, and the record says both."""
    data = {**made.context.plan.data.model_dump(mode="json", exclude_defaults=True), "timestamp": "seen"}
    criteria = [{"id": "age", "metric": "model_age_days", "at_most": 90, "enforce": ["alert"]}]
    context = open_run_at(tmp_path / "r1", home=tmp_path / "home", data=data, criteria=criteria)
    with context.ledger(Step.EVALUATE) as ledger:
        wanted = Staleness(windows=4, tolerated_loss=0.1)
        record_staleness(ledger, context, wanted, snapshot=bars.snapshot, splits=aged, model=made.model)
    record = _recorded(context)
    assert record.verdict is Verdict.FAIL
    assert record.value["retrain_after_days"] < 90 == record.value["allowed_days"]
    assert read_loss_per_day(context.run).low > 0  # what `sextant watch --run` shows to Prometheus
    curve = json.loads(context.artifacts.read_bytes(record.artifacts["ageing.json"]))
    assert len(curve) == 4
    assert curve[0]["value"] > curve[-1]["value"] + 0.2
