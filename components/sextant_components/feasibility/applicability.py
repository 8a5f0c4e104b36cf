"""Is machine learning the right tool: can the label be learned, and does the goal's rule not suffice already?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sextant_components.baseline import FittedBaseline
from sextant_components.feasibility.heading import CONFIDENCE, Heading, Study
from sextant_components.table_files import as_text
from sextant_components.tables import stored_name
from sextant_plan.bounds import proportion
from sextant_plan.catalogue import Kind
from sextant_plan.schema import Criterion
from sextant_plan.verdicts import Estimate, Verdict, judge

SAMPLE_ROWS = 800  # leave-one-out over 800 rows takes under a second on one core
NEIGHBOURS = 5
PICTURE_SIDE = 16  # pixels; enough for shape and shade, and 64 pictures decode in 10 ms
RIDGE = 10.0
MAX_CATEGORIES = 50


def assess(study: Study) -> Heading:
    """Compare two quick models, each row left out in turn, with the majority class on a sample."""
    rows = _sample(study)
    labels = [study.labels[row] for row in rows]
    matrix = _matrix(study, rows)
    majority = max(Counter(labels).values()) / len(labels)
    # Two models are tried, so each bound holds at half the error.
    confidence = 1 - (1 - CONFIDENCE) / 2
    right = {name: int(np.count_nonzero(model(matrix, labels))) for name, model in _MODELS.items()}
    bounds = {name: proportion(count, len(labels), confidence) for name, count in right.items()}
    learnable = any(bound.low > majority for bound in bounds.values())
    return Heading(
        task="feasibility: applicability",
        requirement="the inputs tell of the label: a quick model beats the majority class",
        risk="the inputs know nothing of the label and no model will",
        qa_method="nearest neighbours and ridge regression on a sample, each row left out; Clopper-Pearson bound",
        value={
            "rows": len(labels),
            "majority": round(majority, 6),
            "accuracy": {name: round(bound.value, 6) for name, bound in bounds.items()},
            "bound": {name: round(bound.low, 6) for name, bound in bounds.items()},
        },
        verdict=Verdict.PASS if learnable else Verdict.UNKNOWN,
    )


def assess_baseline(study: Study) -> Heading:
    """Judge the goal's baseline by every ML criterion; where it meets them all, there is nothing to build."""
    labels, (baseline, answers) = study.labels, study.baseline
    criteria = [criterion for criterion in study.plan.criteria if criterion.definition.kind is Kind.ML]
    met = {criterion.id: _meets(study, criterion, labels, answers) for criterion in criteria}
    return Heading(
        task="feasibility: baseline",
        requirement="the goal's baseline does not meet every ML criterion already",
        risk="a model is built and run where a rule would do",
        qa_method="the baseline answers every row of the source and is judged as a model would be",
        value=_baseline_value(baseline, labels, answers)
        | {"meets": {name: str(verdict) for name, verdict in met.items()}},
        verdict=Verdict.FAIL if met and set(met.values()) == {Verdict.PASS} else Verdict.PASS,
    )


def _baseline_value(baseline: FittedBaseline, labels: Sequence[str], answers: Sequence[str]) -> dict[str, object]:
    accuracy = sum(label == answer for label, answer in zip(labels, answers, strict=True)) / len(labels)
    return {"baseline": baseline.describe(), "rows": len(labels), "accuracy": round(accuracy, 6)}


def _meets(study: Study, criterion: Criterion, labels: Sequence[str], answers: Sequence[str]) -> Verdict:
    estimate = _estimate(study, criterion, labels, answers)
    return judge(estimate, at_least=criterion.at_least, at_most=criterion.at_most, min_n=criterion.min_n)


def _estimate(study: Study, criterion: Criterion, labels: Sequence[str], answers: Sequence[str]) -> Estimate | None:
    """Return the criterion's metric of fixed answers; None for a metric that they do not have."""
    right = np.asarray([label == answer for label, answer in zip(labels, answers, strict=True)])
    if criterion.relative_to == "baseline":
        return Estimate(0.0, 0.0, 0.0, len(labels), criterion.confidence)
    if criterion.relative_to is not None:
        return None
    if criterion.metric == "accuracy":
        column, equals, value = (criterion.slice or "").partition("=")
        if equals:
            right = right[
                (as_text(study.rows[stored_name(study.plan, column)]) == value).fill_null(value=False).to_numpy()
            ]
        return proportion(int(right.sum()), len(right), criterion.confidence)
    if criterion.metric == "calibration_error":  # a rule that is always certain errs in confidence where it errs
        return proportion(int((~right).sum()), len(right), criterion.confidence)
    if criterion.metric == "recall_min":
        recalls = [
            proportion(int(right[own].sum()), int(own.sum()), criterion.confidence)
            for own in (np.asarray(labels) == label for label in set(labels))
        ]
        return min(recalls, key=lambda recall: recall.low)
    if criterion.metric == "macro_f1":
        score = _macro_f1(np.asarray(labels), np.asarray(answers))
        return Estimate(score, score, score, len(labels), criterion.confidence)
    return None


def _macro_f1(labels: NDArray[np.str_], answers: NDArray[np.str_]) -> float:
    scores = []
    for label in np.unique(labels):
        true, said = labels == label, answers == label
        scores.append(2 * np.count_nonzero(true & said) / (np.count_nonzero(true) + np.count_nonzero(said)))
    return float(np.mean(scores))


def _sample(study: Study) -> list[int]:
    rows = study.rows.height
    if rows <= SAMPLE_ROWS:
        return list(range(rows))
    return sorted(np.random.default_rng(0).choice(rows, SAMPLE_ROWS, replace=False).tolist())


def _matrix(study: Study, rows: Sequence[int]) -> NDArray[np.float64]:
    """Return the sample's inputs, shape (rows, numbers), each kind of input scaled to weigh the same."""
    inputs = study.plan.model.inputs
    blocks = [_picture_block(study, rows)] if inputs.image is not None else []
    names = [*inputs.columns, *(name.partition(":")[2] for name in inputs.features)]
    blocks += [_column_block(study, name, rows) for name in names]
    scaled = []
    for block in blocks:
        centred = block - block.mean(axis=0)
        spread = np.sqrt((centred**2).sum(axis=1).mean())
        scaled.append(centred / spread if spread > 0 else centred)
    return np.hstack(scaled)


def _picture_block(study: Study, rows: Sequence[int]) -> NDArray[np.float64]:
    from sextant_plan.schema import ImageInput
    from sextant_serving.errors import BadPicture
    from sextant_serving.preprocessing import decode_image

    assert study.plan.model.inputs.image is not None
    assert study.pictures is not None
    spec = ImageInput(height=PICTURE_SIDE, width=PICTURE_SIDE, channels=study.plan.model.inputs.image.channels)
    block = np.zeros((len(rows), PICTURE_SIDE * PICTURE_SIDE * spec.channels))
    for place, row in enumerate(rows):
        try:
            block[place] = decode_image(study.pictures[row].read_bytes(), spec).reshape(-1)
        except BadPicture:  # verify counts them; here a black picture only makes the sample a little harder
            continue
    return block


def _column_block(study: Study, name: str, rows: Sequence[int]) -> NDArray[np.float64]:
    column = study.rows[name][list(rows)]
    if column.dtype.is_numeric():
        numbers = column.cast(float).to_numpy().astype(np.float64)
        known = numbers[np.isfinite(numbers)]
        typical = float(np.median(known)) if known.size else 0.0
        return np.where(np.isfinite(numbers), numbers, typical).reshape(-1, 1)
    words = as_text(column).fill_null("").to_list()
    common = [word for word, _ in Counter(words).most_common(MAX_CATEGORIES)]
    return np.asarray([[word == other for other in common] for word in words], dtype=np.float64)


def _neighbours_right(matrix: NDArray[np.float64], labels: Sequence[str]) -> NDArray[np.bool_]:
    squares = (matrix**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * matrix @ matrix.T
    np.fill_diagonal(distances, np.inf)
    near = np.argpartition(distances, min(NEIGHBOURS, len(labels) - 1) - 1, axis=1)[:, :NEIGHBOURS]
    votes = [Counter(labels[other] for other in others).most_common(1)[0][0] for others in near]
    return np.asarray([vote == label for vote, label in zip(votes, labels, strict=True)])


def _ridge_right(matrix: NDArray[np.float64], labels: Sequence[str]) -> NDArray[np.bool_]:
    """Ridge regression on one-hot labels; leaving a row out divides its residual by 1 - leverage (Allen 1974)."""
    classes, codes = np.unique(labels, return_inverse=True)
    target = np.eye(len(classes))[codes]
    design = np.hstack([matrix, np.ones((len(matrix), 1))])
    gram = design @ design.T
    hat = np.linalg.solve(gram + RIDGE * np.eye(len(gram)), gram)
    leverage = np.clip(np.diag(hat), 0, 1 - 1e-9)[:, None]
    left_out = target - (target - hat @ target) / (1 - leverage)
    return np.asarray(left_out.argmax(axis=1) == codes)


_MODELS = {"neighbours": _neighbours_right, "ridge": _ridge_right}
