"""Rows as a client sends them: raw values, before any encoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from sextant_components.data.tables import ROWS_FILE
from sextant_components.deployment.replay import live_rows
from sextant_plan.bundle import BundleSpec, Column
from sextant_plan.schema import Plan

PLAN = Plan.model_validate(
    {
        "name": "parcels",
        "owner": {"team": "warehouse", "approvers": ["operations"]},
        "goal": {"business": "Sort parcels.", "why_ml": "Nobody can write the rules down."},
        "criteria": [{"id": "accuracy", "metric": "accuracy", "at_least": 0.9}],
        "data": {
            "source": "data",
            "table": "table.csv",
            "entity": "parcel",
            "columns": {
                "weight": {"type": "number"},
                "zone": {"type": "category"},
                "fragile": {"type": "boolean"},
            },
            "licence": {"name": "CC0-1.0", "source": "made up", "allows_training": True},
            "consent": {"basis": "no persons"},
        },
        "model": {
            "task": "tabular-classification",
            "inputs": {"columns": ["weight", "zone", "fragile"]},
            "candidates": [{"architecture": "linear"}],
        },
    }
)


def test_rows_carry_raw_values_the_key_and_the_truth_in_the_splits_order(tmp_path: Path) -> None:
    """Categories stay words, missing stays missing, true and false are numbers; stored features are not sent."""
    columns = {
        "row_id": [0, 1, 2],
        "label": ["a", "b", "a"],
        "parcel": ["P-0", "P-1", "P-2"],
        "weight": [1.5, None, 3.0],
        "zone": ["north", "south", None],
        "fragile": [True, False, None],
    }
    pl.DataFrame(columns).write_parquet(tmp_path / ROWS_FILE)
    pl.DataFrame({"row_id": [2, 1]}).write_parquet(tmp_path / "valid.parquet")
    sent = [Column(name="weight"), Column(name="zone", vocabulary=["north", "south"]), Column(name="fragile")]
    read: dict[str, Any] = {"columns": [*sent, Column(name="volume", view="sizes")], "entity": "parcel", "image": None}
    spec = BundleSpec.model_construct(**read)
    rows = live_rows(PLAN, spec, snapshot=tmp_path, splits=tmp_path, name="valid")
    assert [row.label for row in rows] == ["a", "b"]
    assert [row.fields for row in rows] == [
        {"weight": 3.0, "zone": None, "fragile": None, "parcel": "P-2"},
        {"weight": None, "zone": "south", "fragile": 0.0, "parcel": "P-1"},
    ]
    assert [row.picture for row in rows] == [None, None]
