"""A small source of pictures, a table and features, and runs over it whose plan a test can change."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image
from tests.components.browsing import Browser
from tests.components.trained import bars, bundle, empty_mlflow, home, made, open_run_at, sealing_run, session_home
from tests.programs import program

from sextant_components.planning.feasibility.load import ServedLoad
from sextant_components.runs.context import RunContext, create_run
from sextant_plan.ledger import Record, read_run

__all__ = ["bars", "bundle", "empty_mlflow", "home", "made", "open_run_at", "sealing_run", "session_home"]  # fixtures

CLASSES = ("dim", "grey", "pale")
ROWS = 60
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@dataclass
class Workshop:
    """A folder with a source under `data`, a plan as a dictionary, and a home; change them, then `open` a run."""

    root: Path
    plan: dict[str, Any]
    table: pl.DataFrame
    runs: int = 0

    @property
    def data(self) -> Path:
        """The folder that data.source names."""
        return self.root / "data"

    @property
    def home(self) -> Path:
        """The home that all runs share."""
        return self.root / "home"

    def open(self) -> RunContext:
        """Write plan and table as they now stand and open a new run of them."""
        self.runs += 1
        self.table.write_csv(self.data / "table.csv")
        path = self.root / "plan.yaml"
        path.write_text(yaml.safe_dump(self.plan, sort_keys=False), encoding="utf-8")
        return create_run(self.root / f"run-{self.runs}", run_id=f"r{self.runs}", plan_path=path, home=self.home)

    def replace(self, column: str, row: int, value: object) -> None:
        """Set one cell of the table; `row` counts from 0."""
        values = self.table[column].to_list()
        values[row] = value
        self.table = self.table.with_columns(pl.Series(column, values, dtype=self.table[column].dtype, strict=False))


def png(level: int, seed: int, side: int = 16) -> bytes:
    """Return a grey picture of about the given brightness, different for each seed."""
    noise = np.random.default_rng(seed).integers(-20, 21, (side, side))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(level + noise, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _table() -> pl.DataFrame:
    rows = range(ROWS)
    return pl.DataFrame(
        {
            "image": [f"{row:03d}.png" for row in rows],
            "item": [f"I-{row:03d}" for row in rows],
            "seen": [(NOON + timedelta(hours=row)).isoformat() for row in rows],
            "batch": [f"B-{row // 2:02d}" for row in rows],
            "site": [("north", "south")[row % 2] for row in rows],
            "weight": [None if row == 7 else 1.5 * row for row in rows],
            "kind": [CLASSES[row % 3] for row in rows],
        }
    )


def _plan() -> dict[str, Any]:
    return {
        "name": "shades",
        "owner": {"team": "tests", "approvers": ["one", "two"]},
        "goal": {"business": "sort shades", "why_ml": "no rule is known"},
        "criteria": [{"id": "accuracy", "metric": "accuracy", "at_least": 0.5, "min_n": 10}],
        "data": {
            "source": "data",
            "table": "table.csv",
            "images": "images",
            "label": "kind",
            "entity": "item",
            "timestamp": "seen",
            "columns": {
                "site": {"type": "category", "values": ["north", "south"]},
                "weight": {"type": "number", "min": 0, "max": 1000, "required": False},
            },
            "licence": {"name": "CC0-1.0", "source": "generated", "allows_training": True},
            "consent": {"basis": "generated"},
        },
        "model": {
            "task": "image-tabular-classification",
            "inputs": {"image": {"height": 16, "width": 16, "channels": 1}, "columns": ["site", "weight"]},
            "candidates": [{"architecture": "fusion"}],
        },
        "evaluation": {"sealed_split": 0.25, "valid_split": 0.2, "slices": ["site"], "latency_requests": 300},
    }


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Sixty pictures of three shades with a table: one picture a row, two rows a batch, one weight missing."""
    pictures = tmp_path / "data" / "images"
    pictures.mkdir(parents=True)
    for row in range(ROWS):
        (pictures / f"{row:03d}.png").write_bytes(png((40, 120, 210)[row % 3], seed=row))
    return Workshop(tmp_path, _plan(), _table())


@pytest.fixture
def records() -> Callable[[RunContext, str], dict[str, Record]]:
    """Read a step's last records by task; of equal tasks the last counts."""

    def read(context: RunContext, step: str) -> dict[str, Record]:
        return {record.task: record for record in read_run(context.run)[step]}

    return read


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser with an empty profile; skipped where there is none, an error where servers are required."""
    chromium = program("chromium", "chromium-browser", "google-chrome")
    with Browser(chromium, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def load_already_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare a test of another heading the two seconds that the served baseline takes: test_feasibility_load has it."""
    known = ServedLoad([1.0] * 300, 1000.0)
    monkeypatch.setattr("sextant_components.planning.feasibility.load.serve_quickly", lambda study: known)
