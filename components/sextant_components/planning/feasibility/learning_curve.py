"""What more rows would bring: the error of a quick model by training rows, extrapolated with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sextant_components.planning.feasibility.heading import CONFIDENCE, Heading, Study
from sextant_components.planning.feasibility.quick_models import ridge_answers
from sextant_components.planning.feasibility.representation import Sample
from sextant_plan.verdicts import Verdict

SIZES = 5
REPEATS = 8
HELD_OUT = 0.25
RESAMPLES = 200
DECAYS = np.linspace(0.2, 1.5, 14)  # of the power law; 0.5 is a mean's, and few published curves lie outside
WORTH_COLLECTING = 0.02  # of accuracy, from twice the rows; less does not pay for doubling a data set
FEWEST_ROWS = 40
CURVE_FILE = "learning_curve.json"


@dataclass(frozen=True)
class Curve:
    """Errors of shape (repeats, sizes) by the training rows of each size."""

    sizes: NDArray[np.intp]
    errors: NDArray[np.float64]


def assess(study: Study) -> Heading:
    """Extrapolate to the rows that training will have, and to twice as many.

    Passes if twice the rows are proved to bring little, or if the limit on accuracy is reached already; it informs,
    because the quick model is not the one that will be built.
    """
    sample = study.sample
    if len(sample.rows) < FEWEST_ROWS:
        return _heading({"rows": len(sample.rows), "reason": f"fewer than {FEWEST_ROWS} rows"}, Verdict.UNKNOWN, [])
    curve = measure(sample)
    evaluation = study.plan.evaluation
    training = round(study.rows.height * (1 - evaluation.sealed_split - evaluation.valid_split))
    draws = _resampled(curve)
    ahead = 1 - extrapolate(curve.sizes, draws, [training, 2 * training])
    now, twice, gain = _bounded(ahead[:, 0]), _bounded(ahead[:, 1]), _bounded(ahead[:, 1] - ahead[:, 0])
    limit = study.promised_accuracy
    enough = gain["high"] <= WORTH_COLLECTING or (limit is not None and now["low"] >= limit)
    value = {"training_rows": training, "accuracy": now, "gain_of_twice_the_rows": gain}
    measured = [(int(size), _bounded(1 - errors)) for size, errors in zip(curve.sizes, draws.T, strict=True)]
    points = [_point(rows, found, extrapolated=False) for rows, found in measured]
    points += [_point(rows, found, extrapolated=True) for rows, found in ((training, now), (2 * training, twice))]
    return _heading(value, Verdict.PASS if enough else Verdict.UNKNOWN, points)


def _point(rows: int, found: dict[str, float], *, extrapolated: bool) -> dict[str, object]:
    accuracy = {"accuracy": found["value"], "low": found["low"], "high": found["high"]}
    return {"rows": rows, **accuracy, "extrapolated": extrapolated}


def measure(sample: Sample) -> Curve:
    """Return the quick model's error on held-out rows at growing numbers of training rows, over seeded repeats."""
    matrix, rows = sample.matrix, len(sample.rows)
    classes, codes = np.unique(sample.labels, return_inverse=True)
    most = rows - round(HELD_OUT * rows)
    sizes = np.unique(np.geomspace(max(8, most // 16), most, SIZES).astype(np.intp))
    errors = np.empty((REPEATS, len(sizes)))
    for repeat in range(REPEATS):
        order = np.random.default_rng(repeat).permutation(rows)
        test = order[most:]
        for place, size in enumerate(sizes):
            train = order[:size]
            said = ridge_answers(matrix[train], codes[train], len(classes), matrix[test])
            errors[repeat, place] = np.mean(said != codes[test])
    return Curve(sizes, errors)


def extrapolate(sizes: NDArray[np.intp], errors: NDArray[np.float64], rows: Sequence[int]) -> NDArray[np.float64]:
    """Return the error at each of `rows` by the law a + b n^-c with a, b >= 0 (Cortes et al. 1993).

    `errors` have shape (curves, sizes), the result (curves, rows).
    """
    best = np.full(len(errors), np.inf)
    found = np.empty((len(errors), len(rows)))
    ahead = np.asarray(rows, dtype=np.float64)
    for decay in DECAYS:
        falling = sizes.astype(np.float64) ** -decay
        for floor, slope in _least_squares(falling, errors):
            residual = ((errors - floor[:, None] - slope[:, None] * falling) ** 2).sum(axis=1)
            better = (floor >= 0) & (slope >= 0) & (residual < best)
            best[better] = residual[better]
            found[better] = floor[better, None] + slope[better, None] * ahead**-decay
    return np.minimum(found, 1.0)


def _least_squares(
    falling: NDArray[np.float64], errors: NDArray[np.float64]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return floor and slope of each curve where both are free, where the floor is 0, and where the slope is 0.

    With two coefficients, the best that are not negative are among these three.
    """
    centred, mean = falling - falling.mean(), errors.mean(axis=1)
    slope = errors @ centred / (centred @ centred)
    zero = np.zeros(len(errors))
    return [
        (mean - slope * falling.mean(), slope),
        (zero, errors @ falling / (falling @ falling)),
        (mean, zero),
    ]


def _resampled(curve: Curve) -> NDArray[np.float64]:
    """Return mean curves over resampled repeats, shape (resamples, sizes); the first is that of all repeats."""
    generator = np.random.default_rng(0)
    draws = [curve.errors[generator.integers(0, REPEATS, REPEATS)].mean(axis=0) for _ in range(RESAMPLES)]
    return np.asarray([curve.errors.mean(axis=0), *draws])


def _bounded(values: NDArray[np.float64]) -> dict[str, float]:
    """Return the first value with one-sided percentile bounds over the others, which are the resampled ones."""
    low, high = np.quantile(values[1:], [1 - CONFIDENCE, CONFIDENCE])
    return {name: round(float(each), 6) for name, each in (("value", values[0]), ("low", low), ("high", high))}


def _heading(value: dict[str, object], verdict: Verdict, points: list[dict[str, object]]) -> Heading:
    return Heading(
        task="feasibility: learning curve",
        requirement=f"twice the rows would bring at most {WORTH_COLLECTING:g} of accuracy, or the limit is reached",
        risk="a model is tuned for months that only needed more rows",
        qa_method=f"ridge regression at {SIZES} sizes, {REPEATS} seeded repeats; a power law extrapolated, percentile "
        "bounds over resampled repeats; it informs and does not judge",
        value=value,
        verdict=verdict,
        counts=False,
        tables={CURVE_FILE: points} if points else {},
    )
