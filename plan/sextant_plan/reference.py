"""The reference profile: how the training rows are spread over bins, what drift is measured against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sextant_plan.schema import Closed

LEAST_BINS, MOST_BINS = 10, 25  # of a number: docs/adr/0040
ROWS_A_BIN = 20  # that the smallest window which is judged brings
BINS_OF_ALL = 2000  # each is two lines of a variant's metrics page, of which 5 ms of processor time write 18,000
PROJECTIONS = 8  # random directions in which a picture's content is watched: docs/adr/0028
PICTURE_FEATURES = ("image.brightness", "image.contrast", *(f"image.projection-{i}" for i in range(PROJECTIONS)))
"""The statistics by which a picture is profiled; `sextant_serving.preprocessing.picture_statistics` measures them."""


class FeatureReference(Closed):
    """One input's bins: bin i holds values in [edges[i-1], edges[i]); the first and last are open.

    `low` and `high` are the least and the greatest training value, None where values have no order.
    """

    name: str
    edges: list[float]
    counts: list[int]
    low: float | None = None
    high: float | None = None


class Reference(Closed):
    """The training rows by input feature, and by class; pictures enter as brightness and contrast (0-255).

    Where the label is a number there are no classes, and `prediction` has its bins.
    """

    features: list[FeatureReference]
    classes: dict[str, int]
    prediction: FeatureReference | None = None


def bin_index(values: ArrayLike, edges: ArrayLike) -> NDArray[np.intp]:
    """Return the bin of each value, 0 to len(edges); a value that is not finite goes to the last bin.

    `values` has any shape, `edges` shape (bins - 1,) and rises strictly.
    """
    return np.searchsorted(np.asarray(edges, dtype=np.float64), np.asarray(values, dtype=np.float64), side="right")


def bins_for(rows: int, features: int) -> int:
    """Return how many bins a number gets where windows of at least `rows` rows are judged on so many features.

    More bins see smaller shifts and have more noise, so large windows get more of them; many features get fewer.
    """
    return max(LEAST_BINS, min(MOST_BINS, rows // ROWS_A_BIN, BINS_OF_ALL // max(features, 1)))


def profile(name: str, values: ArrayLike, bins: int = LEAST_BINS) -> FeatureReference:
    """Return the reference of one input at its quantiles; a feature of few values gets fewer bins.

    `values` has shape (rows,) and must hold at least one finite value.
    """
    # Sorted values give quantiles and counts in a third of the time that finding each row's bin takes.
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=None)
    finite = ordered[np.isfinite(ordered)]
    if finite.size == 0:
        raise ValueError(f"{name}: no finite value to profile")
    edges = np.unique(np.quantile(finite, np.linspace(0, 1, bins + 1)[1:-1]))
    counts = np.diff(np.searchsorted(ordered, edges, side="left"), prepend=0, append=ordered.size)
    low, high = float(finite[0]), float(finite[-1])
    return FeatureReference(name=name, edges=edges.tolist(), counts=counts.tolist(), low=low, high=high)


def stability_index(reference: ArrayLike, current: ArrayLike, *, corrected: bool = False) -> float:
    """Return the population stability index of two histograms, in nats (>= 0 unless corrected).

    Both have shape (bins,), in rows. Half a row is added to each bin so that an empty one stays finite.
    `corrected` takes off (bins - 1)(1/n + 1/m), the expectation when nothing has shifted
    (Yurdakul and Naranjo 2020), so that few rows do not look like drift.
    """
    expected, observed = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    if expected.shape != observed.shape or expected.ndim != 1:
        raise ValueError(f"histograms of shapes {expected.shape} and {observed.shape} cannot be compared")
    p = (expected + 0.5) / (expected + 0.5).sum()
    q = (observed + 0.5) / (observed + 0.5).sum()
    index = float(((q - p) * np.log(q / p)).sum())
    if corrected and expected.sum() > 0 and observed.sum() > 0:
        index -= (len(expected) - 1) * (1 / expected.sum() + 1 / observed.sum())
    return index


def write_reference(path: Path, reference: Reference) -> None:
    """Write the profile as JSON."""
    path.write_text(reference.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_reference(path: Path) -> Reference:
    """Read a profile that `write_reference` wrote."""
    return Reference.model_validate_json(path.read_bytes())
