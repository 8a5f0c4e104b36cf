"""The metrics against results worked out by hand or by another library."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score

from sextant_components.evaluation.corruptions import corrupt
from sextant_components.evidence import metrics
from sextant_components.evidence.metrics import Answers
from sextant_plan.bounds import combined, proportion
from sextant_plan.schema import Economics
from sextant_plan.verdicts import Estimate


def _answers(labels: list[int], predicted: list[int], confidence: float = 0.9, classes: int = 3) -> Answers:
    rest = (1 - confidence) / (classes - 1)
    probabilities = np.full((len(labels), classes), rest, dtype=np.float32)
    probabilities[np.arange(len(labels)), predicted] = confidence
    return Answers(probabilities, np.asarray(labels, dtype=np.int64))


def _random(rows: int) -> Answers:
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 3, rows)
    predicted = np.where(generator.random(rows) < 0.7, labels, generator.integers(0, 3, rows))
    return _answers(labels.tolist(), predicted.tolist())


def test_lowest_recall_passes_uncorrected_and_fails_corrected() -> None:
    """The lower bound is the worst class's own; the upper one is widened for having chosen among the classes."""
    answers = _answers([0] * 40 + [1] * 50 + [2] * 60, [0] * 40 + [1] * 30 + [0] * 20 + [2] * 60)
    found = metrics.recall_min(answers, 3, 0.95)
    assert found.value == pytest.approx(0.6)
    assert found.n == 40
    assert found.low == proportion(30, 50, 0.95).low
    assert found.high == pytest.approx(proportion(30, 50, 1 - 0.05 / 3).high)
    assert found.high > proportion(30, 50, 0.95).high


def test_a_class_without_rows_leaves_the_lowest_recall_open() -> None:
    """What was never seen is not known to be recognised."""
    found = metrics.recall_min(_answers([0, 0, 1], [0, 0, 1]), 3, 0.95)
    assert found.low == 0.0
    assert found.n == 0


def test_macro_f1_is_that_of_scikit_learn() -> None:
    """The value agrees with the usual definition and lies between its bounds."""
    answers = _random(200)
    found = metrics.macro_f1(answers, 3, 0.95)
    assert found.value == pytest.approx(f1_score(answers.labels, answers.predicted, average="macro"))
    assert found.low < found.value < found.high


def test_macro_f1_of_few_errors_is_not_proved_too_high() -> None:
    """At one error in 170 the lower bound exceeds the truth in at most 5 % of samples of 360 rows."""
    generator, classes = np.random.default_rng(5), 10
    labels = np.arange(360) % classes
    misses = 0
    for _ in range(400):
        wrong = generator.random(360) < 1 / 170
        predicted = np.where(wrong, (labels + generator.integers(1, classes, 360)) % classes, labels)
        misses += (
            metrics.macro_f1(_answers(labels.tolist(), predicted.tolist(), classes=classes), classes, 0.95).low
            > 1 - 1 / 170
        )
    assert misses <= 20


@pytest.mark.parametrize(
    ("confidence", "expected"), [pytest.param(0.75, 0.0, id="calibrated"), pytest.param(0.95, 0.2, id="overconfident")]
)
def test_calibration_error_is_the_gap_of_confidence_and_accuracy(confidence: float, expected: float) -> None:
    """Three of four right: at a stated 0.75 nothing is off, at 0.95 a fifth is."""
    answers = _answers([0] * 400, [0, 0, 0, 1] * 100, confidence)
    assert metrics.calibration_error(answers, 0.95).value == pytest.approx(expected, abs=0.02)


def test_too_sure_here_does_not_make_up_for_too_unsure_there() -> None:
    """Half the rows say 0.95 and half 0.55, and of both three of four are right: off by a fifth each, and in all."""
    sure, unsure = (_answers([0] * 200, [0, 0, 0, 1] * 50, confidence) for confidence in (0.95, 0.55))
    both = Answers(np.concatenate([sure.probabilities, unsure.probabilities]), np.zeros(400, dtype=np.int64))
    assert metrics.calibration_error(both, 0.95).value == pytest.approx(0.2, abs=0.02)


def test_a_calibration_bound_is_never_below_what_was_measured() -> None:
    """Where every bin happens to agree to the row, taking off what chance adds would prove an error below none."""
    right = np.arange(200) % 5 != 0
    labels = np.zeros(200, dtype=np.int64)
    probabilities = np.where(right[:, None], [[0.8, 0.2]], [[0.2, 0.8]]).astype(np.float32)
    for confidence in (0.8, 0.99):
        found = metrics.calibration_error(Answers(probabilities, labels), confidence)
        assert 0.0 <= found.low <= found.value <= found.high


def test_the_bootstrap_of_a_calibration_error_draws_whole_groups() -> None:
    """Forty groups of ten alike rows: the bounds are those of forty rows, three times as far apart."""
    answers = _answers([0] * 400, [int(row // 10 % 4 == 3) for row in range(400)], 0.95)
    alone = metrics.calibration_error(answers, 0.95)
    found = metrics.calibration_error(replace(answers, groups=np.arange(400) // 10), 0.95)
    assert (found.n, alone.n) == (40, 400)
    assert found.value == alone.value
    assert found.high - found.low == pytest.approx(np.sqrt(10) * (alone.high - alone.low), rel=0.2)


def test_a_few_twins_change_little_of_a_mean_over_classes() -> None:
    """Five pairs among two hundred rows: no bound of macro-F1 or of the net value moves by a tenth of its distance."""
    economics = Economics(value_per_correct=1.0, cost_per_error=3.0, cost_per_label=0.5, predictions_per_day=100)
    answers = _random(200)
    paired = replace(answers, groups=np.concatenate([np.arange(195), np.arange(5)]))
    for alone, found in (
        [metrics.macro_f1(rows, 3, 0.95) for rows in (answers, paired)],
        [metrics.net_value(rows, economics, 0.5, 0.95) for rows in (answers, paired)],
    ):
        assert found.value == pytest.approx(alone.value)
        for own, other in ((found.low, alone.low), (found.high, alone.high)):
            assert 1.0 <= (own - found.value) / (other - alone.value) < 1.1


def test_net_value_counts_answers_errors_abstentions_and_serving() -> None:
    """Two right, one wrong, one abstained, 100 a day, by hand."""
    economics = Economics(
        value_per_correct=1.0,
        cost_per_error=3.0,
        cost_per_label=0.5,
        cost_per_serving_hour=0.25,
        predictions_per_day=100,
    )
    sure, unsure = _answers([0, 1, 2], [0, 1, 0]), _answers([0], [0], confidence=0.4)
    both = Answers(np.concatenate([sure.probabilities, unsure.probabilities]), np.array([0, 1, 2, 0]))
    found = metrics.net_value(both, economics, 0.5, 0.95)
    assert found.value == pytest.approx(100 * (1 + 1 - 3 - 0.5) / 4 - 24 * 0.25)


def test_the_rows_of_the_confusion_matrix_are_labels() -> None:
    """As in scikit-learn; the other way round it would blame the class that was taken for another."""
    answers = _random(200)
    expected = confusion_matrix(answers.labels, answers.predicted, labels=range(4))
    assert metrics.confusion(answers, 4).tolist() == expected.tolist() != expected.T.tolist()


def test_accuracy_gap_is_between_the_best_and_the_worst_value() -> None:
    """Nights at half the accuracy of days are a gap of a half."""
    answers = _answers([0] * 80, [0] * 40 + [0, 1] * 20)
    found = metrics.accuracy_gap(answers, ["day"] * 40 + ["night"] * 40, 0.95)
    assert found.value == pytest.approx(0.5)
    assert 0.3 < found.low < 0.5 < found.high < 0.7


def test_a_gap_among_many_values_is_proved_at_a_level_that_allows_for_their_pairs() -> None:
    """Between two of four equal shares chance makes a gap; the bound that fails is that of one of twelve choices."""
    counts = {"a": 40, "b": 34, "c": 36, "d": 30}  # right of 50 each
    predicted = [int(row >= right) for right in counts.values() for row in range(50)]
    found = metrics.accuracy_gap(_answers([0] * 200, predicted), [name for name in counts for _ in range(50)], 0.95)

    def difference(level: float) -> Estimate:
        return combined([(1.0, proportion(40, 50, level)), (-1.0, proportion(30, 50, level))])

    assert found.n == 200
    assert found.value == pytest.approx(0.2)
    assert found.low == pytest.approx(max(0.0, difference(1 - 0.05 / 12).low))
    assert found.low < difference(0.95).low
    assert found.high == pytest.approx(difference(0.95).high)


def test_equal_groups_are_taken_for_unequal_no_more_often_than_promised() -> None:
    """Six groups of one accuracy: a gap is proved in at most 5 % of 200 samples, within three sigma."""
    generator, proved = np.random.default_rng(12), 0
    values = [str(row % 6) for row in range(300)]
    for _ in range(200):
        answers = _answers([0] * 300, (generator.random(300) < 0.2).astype(int).tolist())
        proved += metrics.accuracy_gap(answers, values, 0.95).low > 0
    assert proved <= 200 * 0.05 + 3 * np.sqrt(200 * 0.05 * 0.95)


def test_a_paired_gain_uses_that_the_rows_are_the_same() -> None:
    """Ten rows better of a hundred are proved although either share alone is uncertain by more than that."""
    base: NDArray[np.bool_] = np.arange(100) < 60
    found = metrics.paired_gain(np.arange(100) < 70, base, 0.95)
    assert found.value == pytest.approx(0.1)
    assert found.low > 0.03
    assert proportion(70, 100, 0.95).low < 0.65


def test_a_slice_of_one_wrong_row_proves_no_gap() -> None:
    """Resampling a single row gives no spread; its accuracy is not known to differ from that of the others."""
    answers = _answers([0] * 301, [0] * 292 + [1] * 9)
    found = metrics.accuracy_gap(answers, ["common"] * 300 + ["rare"], 0.95)
    assert found.value > 0.9
    assert found.low < 0.05


def test_a_class_without_rows_does_not_hide_a_proved_violation() -> None:
    """Whichever class has no rows, the recall that is known to be low is the value."""
    for empty in (0, 2):
        labels = [2 - empty] * 50 + [1] * 50
        found = metrics.recall_min(_answers(labels, [1] * 100), 3, 0.95)
        assert found.value == 0.0
        assert found.high < 0.2


@pytest.mark.parametrize("kind", ["noise", "blur", "dark", "bright", "occlusion"])
def test_a_corruption_changes_pictures_the_same_way_each_time(kind: str) -> None:
    """Results of two models compare because the corrupted pictures are the same; the original is untouched."""
    pictures = np.random.default_rng(0).integers(60, 200, (4, 12, 10, 3)).astype(np.uint8)
    before = pictures.copy()
    first, second = corrupt(pictures, kind), corrupt(pictures, kind)
    assert (first == second).all()
    assert (first != pictures).any(axis=(1, 2, 3)).all()
    assert (pictures == before).all()
    assert (first.shape, first.dtype) == (pictures.shape, pictures.dtype)
