"""Drift of what pictures show: found where light tells nothing, silent where nothing has changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sextant_plan.alerts import AlertKind, Reading
from sextant_plan.catalogue import FEATURE_BINS, READY, REFERENCE_RATIO
from sextant_plan.drift_rule import OF_INPUTS, DriftRule, drift_by_feature
from sextant_plan.reference import PICTURE_FEATURES, profile
from sextant_plan.schema import Criterion
from sextant_plan.verdicts import Verdict
from sextant_plan.window import Sample, Window
from sextant_serving.preprocessing import picture_statistics
from sextant_serving.row_counts import BinCounter

Pictures = NDArray[np.uint8]
TARGET = {"model": "digits", "version": "1", "variant": "stable"}
LIGHT = PICTURE_FEATURES[:2]
ROWS, WINDOWS = 500, 100


@pytest.fixture(scope="module")
def pictures() -> tuple[Pictures, Pictures]:
    """Scikit-learn's handwritten digits, half for training and half for production, (rows, 8, 8, 1)."""
    from sklearn.datasets import load_digits

    drawn = (load_digits().images * 15).astype(np.uint8)[..., None]
    order = np.random.default_rng(1).permutation(len(drawn))
    return drawn[order[:900]], drawn[order[900:]]


@pytest.fixture(scope="module")
def window_of(pictures: tuple[Pictures, Pictures]) -> Callable[[Pictures], Window]:
    """Return a maker of the window that the server's counters show after some pictures."""
    references = [profile(name, values) for name, values in picture_statistics(pictures[0]).items()]

    def make(shown: Pictures) -> Window:
        samples = [Sample(READY.name, TARGET, 1.0)]
        statistics = picture_statistics(shown)
        for each in references:
            counter = BinCounter(each.name, each.edges, each.counts, None)
            counter.count(statistics[each.name])
            for (name, bin_), rows, share in zip(counter.keys, counter.rows.tolist(), counter.ratio, strict=True):
                labels = {**TARGET, "feature": name, "bin": bin_}
                samples += [Sample(FEATURE_BINS.name, labels, rows), Sample(REFERENCE_RATIO.name, labels, share)]
        return Window(tuple(samples))

    return make


@pytest.fixture(scope="module")
def rule() -> DriftRule:
    """The rule of a criterion at the usual limit over a picture's statistics."""
    criterion = Criterion.model_validate({"id": "drift", "metric": "input_psi", "at_most": 0.2, "enforce": ["alert"]})
    features = len(PICTURE_FEATURES)
    return DriftRule(
        criterion, AlertKind.INPUT_DRIFT, "digits", OF_INPUTS, "every feature", features, 200, 3600, 300, {}
    )


def _verdict(readings: list[Reading]) -> Verdict:
    (reading,) = readings
    return reading.verdict


def test_mirrored_pictures_are_found_by_their_content_alone(
    pictures: tuple[Pictures, Pictures], window_of: Callable[[Pictures], Window], rule: DriftRule
) -> None:
    """A mirror moves no pixel's value, so brightness and contrast are what they were; projections drift."""
    shown = pictures[1]
    mirrored = shown[:, :, ::-1]
    window, usual = window_of(mirrored), window_of(shown)
    assert _verdict(rule.read(window)) is Verdict.FAIL
    target = tuple(TARGET.values())
    found, before = (
        {each.feature: each for each in drift_by_feature(seen, "digits", target, rule.z)} for seen in (window, usual)
    )
    drifted = {name for name, each in found.items() if rule.verdict(each) is Verdict.FAIL}
    assert drifted
    assert drifted.isdisjoint(LIGHT)
    assert all(found[name].estimate == before[name].estimate for name in LIGHT)


def test_windows_without_a_shift_raise_nothing_and_mirrored_ones_always_do(
    pictures: tuple[Pictures, Pictures], window_of: Callable[[Pictures], Window], rule: DriftRule
) -> None:
    """A hundred windows of 500 pictures each: no false alarm, no miss."""
    shown, random = pictures[1], np.random.default_rng(2)
    alarms, found = 0, 0
    for _ in range(WINDOWS):
        window = shown[random.integers(0, len(shown), ROWS)]
        alarms += _verdict(rule.read(window_of(window))) is Verdict.FAIL
        found += _verdict(rule.read(window_of(window[:, :, ::-1]))) is Verdict.FAIL
    assert (alarms, found) == (0, WINDOWS)
