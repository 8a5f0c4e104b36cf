"""What the live model says of the rows that its successor is judged on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sextant_components.data.tables import read_split
from sextant_components.evaluation.champion import Incomparable, champion_inputs, champion_labels
from sextant_plan.bundle import Column, seal_bundle
from sextant_plan.errors import BundleCorrupt
from sextant_plan.promotion import Promotion


def _promotion(made: Any, bundle: Path, digest: str) -> Promotion:
    return Promotion(
        sequence=1,
        name="bars",
        version="1",
        digest=digest,
        replaces=None,
        bundle=str(bundle),
        feature_repo=None,
        run_id="r1",
        plan_hash=made.context.plan_hash,
        decision="sha256:" + "0" * 64,
        decided=0.0,
    )


def test_the_champion_answers_for_the_rows_in_their_order(made: Any, bars: Any, bundle: Path) -> None:
    """It reads the pictures of the rows themselves, and is right about most of them."""
    sealed = read_split(bars.splits, "sealed")
    promotion = _promotion(made, bundle, made.spec.digest)
    said = champion_labels(promotion, bars.snapshot, bars.splits, sealed)
    backwards = champion_labels(promotion, bars.snapshot, bars.splits, sealed.reverse())
    assert said == backwards[::-1]
    assert sum(a == b for a, b in zip(said, sealed["label"], strict=True)) > 0.8 * sealed.height


def test_the_champion_reads_joined_features_by_its_own_vocabulary(made: Any, bars: Any, tmp_path: Path) -> None:
    """The splits hold what the new model reads: its vocabulary has other places, and its defaults are its own."""
    sealed = read_split(bars.splits, "sealed").head(4)
    ids = sealed["row_id"].to_list()
    shutil.copytree(bars.splits, tmp_path / "splits")
    joined = {"row_id": ids[::-1], "lane": ["c", None, "a", "b"], "mass": [4.0, None, 2.0, 1.0]}
    pl.DataFrame(joined).write_parquet(tmp_path / "splits" / "features.parquet")
    newer = sealed.with_columns(lane=pl.Series([2.0, 1.0, 4.0, 3.0]), mass=pl.Series([1.0, 2.0, 77.0, 4.0]))
    columns = [
        Column(name="lane", view="facts", vocabulary=["b", "c"]),
        Column(name="mass", view="facts", default=9.0),
    ]
    spec = made.spec.model_copy(update={"image": None, "columns": columns})
    inputs = champion_inputs(spec, bars.snapshot, tmp_path / "splits", newer)
    assert inputs["features"].tolist() == [[0.0, 1.0], [2.0, 2.0], [2.0, 9.0], [1.0, 4.0]]


def test_a_champion_that_is_not_the_promoted_bundle_is_refused(made: Any, bars: Any, bundle: Path) -> None:
    """A bundle that was replaced in its place is no champion."""
    promotion = _promotion(made, bundle, "sha256:" + "f" * 64)
    with pytest.raises(BundleCorrupt):
        champion_labels(promotion, bars.snapshot, bars.splits, read_split(bars.splits, "sealed"))


def test_a_champion_that_reads_what_the_data_lost_is_incomparable(
    made: Any, bars: Any, bundle: Path, tmp_path: Path
) -> None:
    """A column or the pictures are gone: the reason is named, and the criterion becomes unknown."""
    sealed = read_split(bars.splits, "sealed")
    spec = seal_bundle(bundle, made.spec.model_copy(update={"columns": [Column(name="weight")]}))
    with pytest.raises(Incomparable, match="the champion reads weight"):
        champion_labels(_promotion(made, bundle, spec.digest), bars.snapshot, bars.splits, sealed)
    pl.read_parquet(bars.snapshot / "rows.parquet").write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(Incomparable, match="the champion reads pictures"):
        champion_labels(_promotion(made, bundle, spec.digest), tmp_path, bars.splits, sealed)
