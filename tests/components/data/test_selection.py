"""What columns, training rows and noise reduction are worth: measured, recorded, acted on only where it is proved."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sextant_components.data.encoding import encoded
from sextant_components.data.ingest import run_ingest
from sextant_components.data.prepare import run_prepare
from sextant_components.data.selection import column_gains, row_gains
from sextant_components.data.tables import read_columns, read_split
from sextant_components.data.verify import run_verify
from sextant_plan.bundle import Column
from sextant_plan.errors import PlanError
from sextant_plan.schema import ImageInput
from sextant_serving.preprocessing import decode_image, encode_column


def _two_classes(rows: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return a column that tells two classes apart, one that is noise and a category that is noise, and the classes."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2, rows).astype(np.int64)
    matrix = np.column_stack([codes + rng.normal(0, 0.4, rows), rng.normal(size=rows), rng.integers(0, 4, rows)])
    return matrix.astype(np.float32), codes


def test_a_column_that_tells_the_classes_apart_earns_its_place_and_noise_does_not() -> None:
    """The gain of the one is proved, that of the others is not."""
    matrix, codes = _two_classes(600, seed=0)
    gains = column_gains(matrix, codes, ["size", "noise", "lane"], [2])
    assert gains["size"].earned is True
    assert gains["size"].estimate.value > 0.3
    assert gains["noise"].earned is not True
    assert gains["lane"].earned is not True


def test_rows_with_flipped_labels_are_proved_to_harm_and_sound_ones_are_not() -> None:
    """A third of the training labels is flipped; a random tenth of the rows is no worse than the rest."""
    matrix, codes = _two_classes(900, seed=1)
    flipped = np.arange(900) < 380
    some = np.random.default_rng(2).random(900) < 0.1
    taught = np.where(flipped, 1 - codes, codes)
    gains = row_gains(matrix, taught, {"label": flipped, "outlier": some}, test=_two_classes(500, seed=3))
    assert gains["label"].earned is False
    assert gains["outlier"].earned is not False


def test_prepare_measures_what_the_plan_wants_measured(workshop: Any, records: Any) -> None:
    """Every column and kind of suspect is on record; without proof no row is left out."""
    workshop.plan["data"]["selection"] = {"columns": True, "rows": "apply"}
    workshop.plan["data"]["columns"]["weight"]["clip"] = 0.1
    workshop.plan["model"]["inputs"]["image"]["denoise"] = "median"
    context = workshop.open()
    snapshot, verified, splits = (context.run / name for name in ("s", "v", "p"))
    run_ingest(context, snapshot=snapshot)
    run_verify(context, snapshot=snapshot, verified=verified)
    run_prepare(context, snapshot=snapshot, verified=verified, splits=splits)
    found = records(context, "prepare")
    assert set(found["selection of columns"].value["gains"]) == {"site", "weight"}
    assert found["selection of rows"].value["left_out"] == 0
    assert found["noise reduction"].value["rows"] == read_split(splits, "valid").height
    weight = next(column for column in read_columns(splits) if column.name == "weight")
    trained = read_split(splits, "train")["weight"]
    assert weight.low is not None
    assert (weight.low, weight.high) == pytest.approx((trained.min(), trained.max()), rel=1e-6)


def test_a_clipped_column_reads_far_values_as_its_ends() -> None:
    """In a request as in the table, and a missing value is still the default."""
    column = Column(name="weight", default=2.0, low=1.0, high=3.0)
    assert encode_column([0.0, 2.5, 1e9, None, float("inf")], column).tolist() == [1.0, 2.5, 3.0, 2.0, 2.0]
    import polars as pl

    assert encoded(pl.DataFrame({"weight": [0.0, 9.0]}), [column])["weight"].to_list() == [1.0, 3.0]


def test_noise_reduction_removes_single_pixels() -> None:
    """Salt on a grey picture is gone after the median, and stays without it."""
    pixels = np.full((16, 16), 90, np.uint8)
    pixels[4, 4] = pixels[10, 7] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    spec = ImageInput(height=16, width=16, channels=1)
    assert decode_image(buffer.getvalue(), spec).max() == 255
    assert decode_image(buffer.getvalue(), spec.model_copy(update={"denoise": "median"})).max() == 90


def test_only_numbers_are_clipped(workshop: Any) -> None:
    """A category has no quantiles."""
    workshop.plan["data"]["columns"]["site"]["clip"] = 0.1
    with pytest.raises(PlanError, match=r"data\.columns\.site\.clip: site is a category and has no quantiles"):
        workshop.open()
