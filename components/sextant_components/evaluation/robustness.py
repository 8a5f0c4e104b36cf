"""How a model bears inputs that differ from its training rows: corruptions, inputs of no class, and attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.evaluation.corruptions import SEVERITIES, corrupt
from sextant_components.evidence.metrics import accuracy
from sextant_components.modelling.explanation import Run
from sextant_components.modelling.tensors import Examples, Inputs
from sextant_plan.bounds import Groups, alike_rows, boundary
from sextant_plan.verdicts import Estimate

Right = NDArray[np.bool_]
FAR = 4.0  # spans of the sealed rows by which a far number lies outside them


def corrupted_right(run: Run, examples: Examples, kinds: Sequence[str]) -> dict[tuple[str, int], Right]:
    """Return which rows are right under each corruption at each severity."""
    found: dict[tuple[str, int], Right] = {}
    for kind in kinds:
        for severity in SEVERITIES:
            pictures = corrupt(examples.inputs["image"], kind, severity=severity)
            said = run({**examples.inputs, "image": pictures}).argmax(axis=1)
            found[kind, severity] = np.asarray(said == examples.labels)
    return found


def severity_table(
    right: Mapping[tuple[str, int], Right], confidence: float, groups: Groups = None
) -> list[dict[str, Any]]:
    """Return one row for each corruption and severity: accuracy with its bounds; `groups` has the rows' groups."""
    rows = []
    for (kind, severity), answers in right.items():
        found = accuracy(answers, confidence, groups)
        bounds = {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
        rows.append({"corruption": kind, "severity": severity, **bounds})
    return rows


def strangers(inputs: Inputs, *, seed: int = 0) -> dict[str, Inputs]:
    """Return inputs of no class by kind, as many of each as there are rows.

    Pictures: `static` is uniform noise, `scrambled` has a row's own pixels in random order, `negative` is
    inverted in two opposite quarters. Columns of the table go along, each scrambled over the rows by itself; of a
    table alone, `far` numbers lie outside the rows by several spans.
    """
    generator = np.random.default_rng(seed)
    mixed = _scrambled_columns(inputs["features"], generator) if "features" in inputs else None
    rest: Inputs = {} if mixed is None else {"features": mixed}
    if "image" not in inputs:
        assert mixed is not None
        return {"far": {"features": _far(inputs["features"], generator)}}
    pictures: NDArray[np.uint8] = inputs["image"]
    static = generator.integers(0, 256, pictures.shape, dtype=np.uint8)
    return {
        "static": {"image": static, **rest},
        "scrambled": {"image": _scrambled_pixels(pictures, generator), **rest},
        "negative": {"image": _negative_patches(pictures), **rest},
    }


def _scrambled_columns(features: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
    mixed: NDArray[np.float32] = np.stack([generator.permutation(column) for column in features.T], axis=1)
    return mixed


def _scrambled_pixels(pictures: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    rows, height, width, channels = pictures.shape
    flat = pictures.reshape(rows, height * width, channels)
    mixed = np.stack([one[generator.permutation(height * width)] for one in flat])
    return mixed.reshape(pictures.shape)


def _negative_patches(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Invert two opposite quarters of each picture, so that neither bright nor dark ground is the usual one."""
    height, width = pictures.shape[1] // 2, pictures.shape[2] // 2
    changed = pictures.copy()
    for part in (np.s_[:, :height, :width], np.s_[:, height:, width:]):
        changed[part] = 255 - changed[part]
    return changed


def _far(features: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
    low, span = features.min(axis=0), np.maximum(np.ptp(features, axis=0), 1.0)
    side = generator.choice([-1.0, 1.0], features.shape)
    distance = generator.uniform(1.0, FAR, features.shape)
    far: NDArray[np.float32] = (low + span / 2 + side * span * (0.5 + distance)).astype(np.float32)
    return far


def auroc(
    inside: NDArray[np.float64], outside: NDArray[np.float64], confidence: float, groups: Groups = None
) -> Estimate:
    """Return the chance that a row of the data scores above a stranger, ties half, with one-sided score bounds.

    The bounds solve for the area whose variance by Hanley and McNeil (1982) puts the found one at the edge, as method 5
    of Newcombe (2006) does; they have a width where every pair is in order, which a resampled bound has not. With
    `groups`, those of `inside`, from whose rows the strangers are made, rows of a group are counted as wholly alike.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    rows, others = len(inside), len(outside)
    if not rows or not others:
        return Estimate(nan, 0.0, 1.0, 0, confidence)
    ranks = rankdata(np.concatenate([inside, outside]))[:rows]
    value = float((ranks.sum() - rows * (rows + 1) / 2) / (rows * others))
    z, worth = float(ndtri(confidence)), 1.0 if groups is None else alike_rows(groups) / rows

    def beyond(area: float, side: float) -> bool:
        return side * (value - area) > z * _area_deviation(area, worth * rows, worth * others)

    low = boundary(value, 0.0, lambda area: beyond(area, 1.0))
    high = boundary(value, 1.0, lambda area: beyond(area, -1.0))
    return Estimate(value, low, high, floor(worth * min(rows, others) + 1e-9), confidence)


def _area_deviation(area: float, rows: float, others: float) -> float:
    middle = (rows + others) / 2 - 1
    spread = 1 + middle * (1 - area) / (2 - area) + middle * area / (1 + area)
    return sqrt(max(area * (1 - area) * spread / (rows * others), 0.0))


def stranger_areas(
    known: NDArray[np.float64], made: Mapping[str, NDArray[np.float64]], confidence: float, groups: Groups = None
) -> dict[str, Estimate]:
    """Return by kind of stranger how well the highest probability tells the data's own rows from it.

    `known` is that probability of the rows, shape (rows,), and `made` that of the strangers of each kind; `groups` has
    the groups of the rows.
    """
    return {kind: auroc(known, scores, confidence, groups) for kind, scores in made.items()}
