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
from tests.components.trained import PLAN

from sextant_components.closing.dossier.blocks import Drawing
from sextant_components.closing.dossier.facts import Artifact
from sextant_components.closing.dossier.plotted import plot_of
from sextant_components.evaluation import staleness
from sextant_components.evaluation.staleness import Decline, decline, record_staleness
from sextant_components.modelling.boosting import fit_trees
from sextant_components.modelling.fitting import fit_candidate
from sextant_components.modelling.model_file import read_model, write_model
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.training import Settings, Shape
from sextant_components.runs.context import RunContext, Step
from sextant_monitoring.ageing import read_loss_per_day
from sextant_plan.bundle import Column
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


def test_a_loss_by_groups_is_no_surer_than_the_groups_make_it() -> None:
    """Each answer four times over: the slope is the same, and its error is twice what the rows alone would say."""
    generator = np.random.default_rng(3)
    ages = np.repeat(generator.uniform(0, 60, 500), 4)
    merit = np.repeat(generator.random(500), 4) < 0.95 - 0.005 * ages
    alone, found = decline(ages, merit), decline(ages, merit, np.repeat(np.arange(500), 4))
    assert found.value == pytest.approx(alone.value)
    assert found.high - found.low == pytest.approx(2 * (alone.high - alone.low), rel=0.05)


def test_no_fall_gives_no_day_in_most_samples() -> None:
    """Where nothing falls a loss is proved in at most one sample in twenty, within three sigma of 400."""
    generator, proved = np.random.default_rng(4), 0
    for _ in range(400):
        ages = generator.uniform(0, 60, 500)
        proved += decline(ages, generator.random(500) < 0.9).due_days(0.02) is not None
    assert proved <= 400 * 0.05 + 3 * np.sqrt(400 * 0.05 * 0.95)


@pytest.mark.parametrize(
    ("bounds", "allowed", "verdict"),
    [
        pytest.param((0.001, 0.003), 30, Verdict.PASS, id="proved to cost less"),
        pytest.param((0.001, 0.003), 60, Verdict.UNKNOWN, id="may cost more"),
        pytest.param((0.002, 0.003), 60, Verdict.FAIL, id="proved to cost more"),
        pytest.param((-0.001, 0.0001), 90, Verdict.UNKNOWN, id="beyond the days seen"),
        pytest.param((0.002, 0.003), 900, Verdict.FAIL, id="proved within the days seen"),
    ],
)
def test_an_age_passes_on_proof_and_within_the_days_seen(
    bounds: tuple[float, float], allowed: float, verdict: Verdict
) -> None:
    """Of a tenth that may be lost over 70 days of rows; that no loss is proved is no proof that there is none."""
    low, high = bounds
    assert Decline((low + high) / 2, low, high).verdict(allowed=allowed, seen=70, tolerated=0.1) is verdict


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


NUMBERS: dict[str, Any] = {
    "goal": {"business": "Say how much.", "why_ml": "A line is learned.", "baseline": {"kind": "mean"}},
    "criteria": [
        {"id": "mae", "metric": "mae", "at_most": 9},
        {"id": "age", "metric": "model_age_days", "at_most": 90, "enforce": ["alert"]},
    ],
    "data": {
        "source": "data",
        "table": "table.csv",
        "label": "grams",
        "columns": {"grams": {"type": "number"}, "x": {"type": "number"}},
        "timestamp": "seen",
        "licence": {"name": "CC0-1.0", "source": "drawn by the test", "allows_training": True},
        "consent": {"basis": "No person is shown."},
    },
    "model": {
        "task": "tabular-regression",
        "inputs": {"columns": ["x"]},
        "candidates": [{"architecture": "gradient-boosting"}],
    },
    "evaluation": {},
}


@pytest.mark.parametrize(
    ("drift", "verdict"), [pytest.param(0.5, Verdict.FAIL, id="moving"), pytest.param(0.0, Verdict.PASS, id="still")]
)
def test_of_numbers_the_growth_of_the_error_is_measured_in_spreads_of_the_label(
    open_run_at: Any, home: Path, tmp_path: Path, drift: float, verdict: Verdict
) -> None:
    """A label that moves away by a half a day is missed by so much more, over the spread of what was learned."""
    days, generator = np.linspace(0, 200, 400), np.random.default_rng(6)
    x = generator.normal(size=400)
    grams = 1000 + 40 * x + generator.normal(scale=2, size=400) + np.clip(days - 100, 0, None) * drift
    times = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=float(day)) for day in days]
    rows = pl.DataFrame({"row_id": range(400), "label": grams, "x": x, "seen": times})
    for name, part in (("train", rows[::2]), ("valid", rows[1::2])):
        part.write_parquet(tmp_path / f"{name}.parquet")
    shape = Shape(None, [Column(name="x")], [])
    settings = Settings("gradient-boosting", {"leaf_rows": 5}, 0.1, 0.0, 1, 1, seed=0)
    examples = Examples(list(range(400)), {"features": x[:, None].astype(np.float32)}, grams)
    write_model(tmp_path / "model", [fit_trees(settings, shape, examples, examples)], shape, [], [])
    context = open_run_at(tmp_path / "r1", home=home, **NUMBERS)
    with context.ledger(Step.EVALUATE) as ledger:
        wanted = Staleness(windows=4, tolerated_loss=0.3)
        record_staleness(ledger, context, wanted, snapshot=tmp_path, splits=tmp_path, model=tmp_path / "model")
    record = _recorded(context)
    assert record.verdict is verdict
    assert record.requirement.endswith("0.3 of the labels' spread in mean absolute error")
    value, due = record.value["lost_a_day"][0], record.value["retrain_after_days"]
    assert value == pytest.approx(drift / grams[days <= 100].std(), rel=0.2, abs=2e-3)
    curve = json.loads(context.artifacts.read_bytes(record.artifacts["ageing.json"]))
    (drawn,) = plot_of(Artifact("ageing.json", record.artifacts["ageing.json"], record), curve)
    assert isinstance(drawn, Drawing)
    assert (drawn.plot.title, drawn.plot.up_label) == ("Mean absolute error as a model ages", "mean absolute error")
    unbounded = [{**curve[0], "low": None, "high": None}, *curve[1:]]  # as of rows of one group
    assert plot_of(Artifact("ageing.json", record.artifacts["ageing.json"], record), unbounded)
    assert (curve[-1]["value"] > curve[0]["value"] + 20) == (drift > 0)
    assert (due is not None and due == pytest.approx(0.3 / value, abs=1e-2) and due < 90) == (drift > 0)


@pytest.fixture
def dated(open_run_at: Any, home: Path, tmp_path: Path) -> RunContext:
    """A run whose rows have a time, and whose plan trains in a way of its own."""
    model = {**PLAN["model"], "training": {"schedule": "cosine", "class_weights": "balanced"}, "augment": ["shift"]}
    data = {**PLAN["data"], "timestamp": "seen"}
    context: RunContext = open_run_at(tmp_path / "r1", home=home, data=data, model=model)
    return context


def _measured(context: RunContext, wanted: Staleness, made: Any, splits: Path) -> Record:
    with context.ledger(Step.EVALUATE) as ledger:
        record_staleness(ledger, context, wanted, snapshot=splits.parent / "none", splits=splits, model=made.model)
    return _recorded(context)


def test_the_past_is_learned_as_the_plan_has_it_learned(
    made: Any, bars: Any, aged: Path, dated: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the plan's ways of training and its augmentation: another way would age otherwise."""
    asked: list[tuple[Settings, Shape]] = []

    def fit(settings: Settings, shape: Shape, *rows: Examples) -> Any:
        asked.append((settings, shape))
        return fit_candidate(settings, shape, *rows)

    monkeypatch.setattr(staleness, "fit_candidate", fit)
    with dated.ledger(Step.EVALUATE) as ledger:
        record_staleness(ledger, dated, Staleness(windows=3), snapshot=bars.snapshot, splits=aged, model=made.model)
    ((settings, shape),) = asked
    assert settings.training == dated.plan.model.training
    assert (shape.augment, settings.params) == (("shift",), read_model(made.model).params)


def test_too_few_rows_for_the_windows_give_no_curve(made: Any, aged: Path, dated: RunContext) -> None:
    """A hundred later rows are not split into fifty windows, and nothing is fitted for them."""
    record = _measured(dated, Staleness(windows=50), made, aged)
    assert (record.verdict, record.artifacts) == (Verdict.UNKNOWN, {})
    assert record.value == "too few rows, or no time, after the oldest half"
