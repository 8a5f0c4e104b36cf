"""Rows unlike anything seen in training: how far their inputs lie outside the range of the training rows.

The score needs nothing of the network, so it is the same for every engine and catches what a confident answer hides: a
network extrapolates without doubt. It sees one input at a time, not unusual combinations of usual values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_plan.bundle import BundleSpec
from sextant_plan.reference import FeatureReference, Reference


class TrainingRange:
    """The range of every measured input: numeric columns by place, brightness and contrast by name."""

    def __init__(self, spec: BundleSpec, reference: Reference) -> None:
        """Take the ranges from `reference`; an input without one is never outside."""
        known = {feature.name: feature for feature in reference.features}
        numbers = [known.get(column.name) if column.vocabulary is None else None for column in spec.columns]
        self._columns = np.array([_range_of(feature) for feature in numbers], dtype=np.float64).reshape(-1, 2)
        pictures = [name for name in known if name.startswith("image.")] if spec.image else []
        self._pictures = {name: _range_of(known[name]) for name in pictures}

    def distance(
        self, features: NDArray[np.float32] | None, pictures: Mapping[str, NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Return shape (rows,): how far a row's most unusual input is outside, in widths of its range; 0 within.

        `features` has shape (rows, columns), each of `pictures` shape (rows,). An input that was constant in training
        is infinitely far outside at any other value.
        """
        distances = []
        if features is not None and len(self._columns):
            distances.append(_outside(features.astype(np.float64), *self._columns.T).max(axis=1))
        distances += [_outside(pictures[name], *edges) for name, edges in self._pictures.items() if name in pictures]
        rows = len(features) if features is not None else max(map(len, pictures.values()), default=0)
        farthest: NDArray[np.float64] = np.max(distances, axis=0) if distances else np.zeros(rows)
        return farthest


def _range_of(feature: FeatureReference | None) -> tuple[float, float]:
    if feature is None or feature.low is None or feature.high is None:
        return -np.inf, np.inf
    return feature.low, feature.high


def _outside(values: NDArray[np.float64], low: Any, high: Any) -> NDArray[np.float64]:
    beyond = np.maximum(np.maximum(low - values, values - high), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Float32 inputs against float64 edges: what differs by rounding alone is within.
        near = beyond <= 1e-6 * np.maximum(np.abs(low), np.abs(high))
        return np.where((beyond == 0) | near, 0.0, beyond / (high - low))
