"""What the promoted model says of rows that another model is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.tables import load_images, read_features, read_rows
from sextant_components.modelling.tensors import Inputs, run_in_batches
from sextant_plan.bundle import BundleSpec, Column, read_bundle
from sextant_plan.errors import BundleCorrupt, InfrastructureError
from sextant_plan.promotion import Promotion

if TYPE_CHECKING:
    import polars as pl


class Incomparable(Exception):
    """The promoted model reads something that the rows do not have; the text says what."""


def champion_labels(promotion: Promotion, snapshot: Path, splits: Path, split: pl.DataFrame) -> list[Any]:
    """Return the promoted model's label for each row of a split, a class or a number; `split` is one of `splits`.

    Raises Incomparable if it reads a column or pictures that the data no longer has, and BundleCorrupt or
    InfrastructureError if its bundle is not the one that was promoted.
    """
    from sextant_serving.engines import load_engine

    bundle = Path(promotion.bundle)
    if not bundle.exists():
        raise InfrastructureError(f"{bundle}: the promoted model's bundle is gone. Restore it from its store.")
    spec = read_bundle(bundle)
    if spec.digest != promotion.digest:
        raise BundleCorrupt(bundle, "bundle.json", spec.digest, promotion.digest)
    if bool(spec.classes) == split["label"].dtype.is_numeric():
        raise Incomparable("the champion answers with classes and the label is a number now, or the other way round")
    inputs = champion_inputs(spec, snapshot, splits, split)
    outputs = run_in_batches(load_engine(bundle, spec), inputs, spec.serving.max_rows)
    if not spec.classes:
        return [float(value) for value in outputs[:, 0]]
    return [spec.classes[index] for index in outputs.argmax(axis=1)]


def champion_inputs(spec: BundleSpec, snapshot: Path, splits: Path, split: pl.DataFrame) -> Inputs:
    """Return what a bundle reads of each row of a split, as its own server would. Raises Incomparable."""
    row_ids = split["row_id"].to_list()
    inputs: Inputs = {}
    if spec.image is not None:
        try:
            inputs["image"] = load_images(snapshot, row_ids, spec.image)
        except FileNotFoundError as error:
            raise Incomparable("the champion reads pictures and the data has none") from error
    if spec.columns:
        stored = read_features(splits)
        if stored is not None:
            stored = split.select("row_id").join(stored, on="row_id", how="left", maintain_order="left")
        inputs["features"] = _features(spec.columns, read_rows(snapshot)[row_ids], stored)
    return inputs


def _features(columns: Sequence[Column], rows: pl.DataFrame, stored: pl.DataFrame | None) -> NDArray[np.float32]:
    """Encode what came with the request, and what was joined, by the champion's own vocabularies and defaults.

    The splits hold both as the new model reads them, whose vocabulary is another one.
    """
    from sextant_serving.preprocessing import encode_column

    encoded = []
    for column in columns:
        source = rows if column.view is None else stored
        if source is None or column.name not in source.columns:
            raise Incomparable(f"the champion reads {column.name}, which the data no longer has")
        encoded.append(encode_column(source[column.name].to_list(), column))
    return np.stack(encoded, axis=1)
