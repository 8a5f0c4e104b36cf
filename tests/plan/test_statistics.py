"""The statistics against scipy, statsmodels and krippendorff, and against their own promises by simulation."""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Iterator

import krippendorff
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.multitest import multipletests

from sextant_plan.statistics.agreement import cohen_kappa, nominal_alpha
from sextant_plan.statistics.multiplicity import benjamini_hochberg, holm
from sextant_plan.statistics.planning import (
    chance_to_prove,
    false_pass_bound,
    rows_to_decide,
    rows_to_prove,
    successes_needed,
)
from sextant_plan.statistics.proportions import proportion
from sextant_plan.statistics.resampling import bootstrap

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def test_no_rows_and_impossible_counts() -> None:
    """Nothing is known of no rows, and more right ones than rows is an error."""
    assert (proportion(0, 0, 0.95).low, proportion(0, 0, 0.95).high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 successes of 2 rows"):
        proportion(3, 2, 0.95)


@pytest.fixture
def little_garbage() -> Iterator[None]:
    """The collector looks at new objects alone: statsmodels runs it at each Holm, seconds where torch is loaded."""
    gc.freeze()
    yield
    gc.unfreeze()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=P_VALUES)
@pytest.mark.usefixtures("little_garbage")
def test_holm_is_that_of_statsmodels(values: list[float]) -> None:
    """Adjusted values agree, in the order given."""
    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1], abs=1e-12)


@given(P_VALUES)
def test_benjamini_hochberg_is_that_of_statsmodels(values: list[float]) -> None:
    """Adjusted values agree, in the order given."""
    assert benjamini_hochberg(values) == pytest.approx(multipletests(values, method="fdr_bh")[1], abs=1e-12)


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_what_is_no_p_value_is_refused(adjust: object) -> None:
    """A number over one, or one that is not, would be adjusted to nonsense."""
    for values in ([0.1, 1.5], [math.nan], [[0.1]]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            adjust(values)  # type: ignore[operator]


def test_holm_keeps_the_familywise_error() -> None:
    """Of 4,000 families of ten true nulls at most about 5 % have any rejection."""
    generator = np.random.default_rng(4)
    assert np.mean([holm(generator.uniform(size=10)).min() <= 0.05 for _ in range(4000)]) <= 0.061


def test_benjamini_hochberg_keeps_the_share_of_false_rejections() -> None:
    """With half of forty nulls true the mean share of false among all rejections stays under 5 %."""
    generator, shares = np.random.default_rng(6), []
    for _ in range(2000):
        values = np.concatenate([generator.uniform(size=20), stats.norm.sf(generator.normal(2.5, 1, 20))])
        rejected = benjamini_hochberg(values) <= 0.05
        shares.append(rejected[:20].sum() / max(1, rejected.sum()))
    assert np.mean(shares) <= 0.05


def test_the_bootstrap_is_that_of_scipy() -> None:
    """The basic bounds of a median of skewed values differ by no more than resampling noise."""
    values = np.random.default_rng(1).exponential(size=120)
    found = bootstrap(lambda rows: float(np.median(values[rows])), 120, 0.95, resamples=4000)
    other = stats.bootstrap(
        (values,), np.median, confidence_level=0.9, method="basic", n_resamples=4000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((other.low, other.high), abs=0.03)


def test_a_stratified_bootstrap_keeps_the_strata() -> None:
    """Every resample has each stratum at its size, so what only the mix moves has no width."""
    strata = np.repeat(["a", "b"], [30, 70])
    sizes = bootstrap(lambda rows: float((strata[rows] == "a").sum()), 100, 0.95, strata=strata, resamples=50)
    assert (sizes.low, sizes.value, sizes.high) == (30.0, 30.0, 30.0)


def test_a_bootstrap_by_group_sees_that_rows_resemble_each_other() -> None:
    """Twenty groups of ten equal rows know as much as twenty rows; by row the bounds would be a third as wide."""
    groups = np.repeat(np.arange(20), 10)
    values = np.repeat(np.random.default_rng(3).normal(size=20), 10)

    def mean(rows: np.ndarray) -> float:
        return float(values[rows].mean())

    by_group, by_row = bootstrap(mean, 200, 0.95, groups=groups), bootstrap(mean, 200, 0.95)
    assert by_group.n == 20
    assert by_group.high - by_group.low == pytest.approx(math.sqrt(10) * (by_row.high - by_row.low), rel=0.2)


def test_a_paired_bootstrap_holds_its_level() -> None:
    """Of 150 samples of a paired difference that is zero the lower bound lies above it in at most about 5 %."""
    generator, wrong = np.random.default_rng(8), 0
    for seed in range(150):
        shared = generator.normal(size=80)
        one, other = shared + generator.normal(0, 0.5, 80), shared + generator.normal(0, 0.5, 80)
        wrong += bootstrap(lambda rows: float((one - other)[rows].mean()), 80, 0.95, seed=seed, resamples=200).low > 0  # noqa: B023
    assert wrong <= 18  # 99.9 % of tests at a true level of 5 % over 150 samples see at most 18


def test_strata_and_groups_of_another_shape_are_refused() -> None:
    """A label for each row, and one kind of label at a time."""
    with pytest.raises(ValueError, match=r"shape \(2,\) for 3 rows"):
        bootstrap(lambda rows: 0.0, 3, 0.95, strata=[1, 2])
    with pytest.raises(ValueError, match="not both"):
        bootstrap(lambda rows: 0.0, 3, 0.95, strata=[1, 2, 3], groups=[1, 2, 3])


@given(st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=3, max_size=3))
def test_kappa_is_that_of_statsmodels(table: list[list[int]]) -> None:
    """The value agrees wherever chance leaves anything to agree on."""
    found = cohen_kappa(table, 0.95)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = cohens_kappa(np.array(table)).kappa if np.sum(table) else math.nan
    if math.isfinite(expected) and math.isfinite(found.value):
        assert found.value == pytest.approx(expected, abs=1e-9)
        assert found.low <= found.value <= found.high <= 1
    else:
        assert math.isnan(found.value)


@settings(max_examples=60)
@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=3, max_size=3), min_size=2, max_size=40))
def test_alpha_is_that_of_krippendorff(units: list[list[str | None]]) -> None:
    """The value agrees, with gaps, wherever there are two labels to tell apart in rows with a pair."""
    found = nominal_alpha(units, 0.95)
    labels = {label for unit in units if sum(x is not None for x in unit) > 1 for label in unit if label}
    if len(labels) < 2:
        assert math.isnan(found.value)
        return
    codes = {None: math.nan, "a": 0.0, "b": 1.0, "c": 2.0}
    data = np.array([[codes[label] for label in unit] for unit in units]).T
    assert found.value == pytest.approx(krippendorff.alpha(data, level_of_measurement="nominal"), abs=1e-9)
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("rows", [10, 50, 300])
def test_raters_who_always_agree_prove_no_more_than_their_rows(rows: int) -> None:
    """The bound has a width that shrinks with the rows; a bootstrap's had none."""
    units = [["a", "a"] if row % 2 else ["b", "b"] for row in range(rows)]
    found = nominal_alpha(units, 0.95)
    assert found.value == 1.0
    missed = 1 - 0.05 ** (1 / rows)  # the most disagreement that so many agreeing rows leave possible
    assert 1 - 6 * missed < found.low < 1 - missed


@pytest.mark.parametrize(
    ("rows", "wrong", "shares"),
    [
        pytest.param(40, 0.02, (0.5, 0.5), id="few rows, rare errors"),
        pytest.param(100, 0.1, (0.5, 0.3, 0.2), id="three labels"),
        pytest.param(200, 0.05, (0.9, 0.1), id="a rare label"),
    ],
)
@pytest.mark.parametrize("measure", ["kappa", "alpha"])
def test_agreement_bounds_hold_at_their_confidence(
    rows: int, wrong: float, shares: tuple[float, ...], measure: str
) -> None:
    """In 400 samples the lower bound exceeds the population's agreement in at most about 5 %."""
    generator, labels = np.random.default_rng(9), len(shares)
    joint = np.diag(shares) * (1 - wrong) + wrong * np.outer(shares, shares)
    seen, one, other = 1 - np.trace(joint), joint.sum(axis=1), joint.sum(axis=0)
    expected = 1 - one @ other if measure == "kappa" else 1 - (((one + other) / 2) ** 2).sum()
    truth, misses = 1 - seen / expected, 0
    for _ in range(400):
        table = generator.multinomial(rows, joint.ravel()).reshape(labels, labels)
        if measure == "kappa":
            found = cohen_kappa(table, 0.95)
        else:
            pairs = [[str(i), str(j)] for i in range(labels) for j in range(labels) for _ in range(table[i, j])]
            found = nominal_alpha(pairs, 0.95)
        misses += found.low > truth
    assert misses <= 36  # 99.9 % of tests at a true level of 5 % over 400 samples see at most 36


@settings(max_examples=40)
@given(at_least=st.floats(0.5, 0.98), confidence=st.sampled_from([0.9, 0.95]), gap=st.floats(0.01, 0.4))
def test_planned_rows_give_the_planned_chance(at_least: float, confidence: float, gap: float) -> None:
    """With the returned rows the proof is as likely as asked; with a fifth of them it is much less so."""
    expected = min(1.0, at_least + gap)
    rows = rows_to_decide(at_least, expected, confidence)
    assert rows is not None
    assert rows >= rows_to_prove(at_least, confidence)
    assert chance_to_prove(at_least, expected, rows, confidence) >= 0.8
    if expected < 1:
        assert chance_to_prove(at_least, expected, max(1, rows // 5), confidence) < 0.8


@given(rows=st.integers(1, 500), at_least=st.floats(0.05, 0.99))
def test_successes_needed_are_the_fewest_that_pass(rows: int, at_least: float) -> None:
    """One fewer does not pass, and None means that not even all do."""
    needed = successes_needed(at_least, rows, 0.95)
    if needed is None:
        assert proportion(rows, rows, 0.95).low < at_least
    else:
        assert proportion(needed, rows, 0.95).low >= at_least
        assert needed == 0 or proportion(needed - 1, rows, 0.95).low < at_least


def test_no_test_set_proves_what_is_not_so() -> None:
    """A true share on or below the limit cannot be planned for."""
    assert rows_to_decide(0.9, 0.9, 0.95) is None
    assert rows_to_decide(0.9, 0.8, 0.95) is None


def test_planned_rows_match_a_simulation() -> None:
    """0.95 against a limit of 0.9: four of five test sets of the planned size pass."""
    rows = rows_to_decide(0.9, 0.95, 0.95)
    assert rows is not None
    found = np.random.default_rng(5).binomial(rows, 0.95, 4000)
    needed = successes_needed(0.9, rows, 0.95)
    assert needed is not None
    assert np.mean(found >= needed) == pytest.approx(0.8, abs=0.04)


def test_many_looks_wear_out_a_test_set() -> None:
    """Choosing the best of five models on the limit passes more often than one look and no more than the bound."""
    generator, rows = np.random.default_rng(7), 300
    needed = successes_needed(0.9, rows, 0.95)
    assert needed is not None
    right = generator.binomial(rows, 0.9, (4000, 5))
    one, any_ = (right[:, 0] >= needed).mean(), (right >= needed).any(axis=1).mean()
    assert one <= 0.06
    assert one < any_ <= false_pass_bound(0.95, 5) == pytest.approx(0.25)
