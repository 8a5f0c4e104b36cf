"""The shift of a canary's predicted classes: what is kept between looks, its verdict and its alarm."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import ArrayLike

from sextant_plan.canary_criteria import CanaryCriterion, CanaryTest
from sextant_plan.canary_evidence import Evidence, add_look, canary_value, judge_evidence, shift_is_proved
from sextant_plan.canary_shift import ClassLook, Tallies, add_tallies, shift_size
from sextant_plan.schema import Criterion
from sextant_plan.sequential import ShiftTest
from sextant_plan.share_rule import Count
from sextant_plan.verdicts import Verdict

BASE = (0.4, 0.3, 0.2, 0.1)
Shares = tuple[float, ...]
NAMES = ("bag", "box", "pallet", "tube")


def rule(limit: float = 0.2, *, min_n: int = 100, alpha: float = 0.05) -> CanaryCriterion:
    criterion = Criterion(id="c", metric="prediction_shift", at_most=limit, min_n=min_n)
    shares = {"alpha_fail": alpha, "alpha_pass": alpha}
    return CanaryCriterion(
        criterion, CanaryTest.SHIFT_FROM_STABLE, "classes", Count(()), Count(()), limit, **shares, by="class"
    )


def tallies(canary: ArrayLike, stable: ArrayLike) -> Tallies:
    counts = zip(np.asarray(canary), np.asarray(stable), strict=True)
    return {name: (int(c), int(s)) for name, (c, s) in zip(NAMES, counts, strict=True)}


def gathered(held: CanaryCriterion, looks: Iterable[ClassLook]) -> Evidence:
    """Add looks as a controller does that is started anew for each: only the JSON lives on."""
    text = Evidence().model_dump_json()
    for look in looks:
        text = add_look(held, Evidence.model_validate_json(text), look, burstiness=0.0).model_dump_json()
    return Evidence.model_validate_json(text)


def stream(seed: int, canary: Shares, count: int, *, weight: int = 20, base: Shares = BASE) -> list[ClassLook]:
    """Looks of 2,000 rows, of which the canary gets its weight."""
    generator, rows = np.random.default_rng(seed), 20 * weight
    return [
        ClassLook(weight, tallies(generator.multinomial(rows, canary), generator.multinomial(2000 - rows, base)))
        for _ in range(count)
    ]


def test_a_large_shift_fails_and_none_passes() -> None:
    """The classes' order turned round, 0.93 nats; and the same shares."""
    assert judge_evidence(rule(), gathered(rule(), stream(1, BASE[::-1], 50))) is Verdict.FAIL
    assert judge_evidence(rule(), gathered(rule(), stream(2, BASE, 50))) is Verdict.PASS


def test_a_proof_with_too_few_rows_is_no_pass() -> None:
    """The criterion's min_n counts the canary's rows."""
    assert judge_evidence(rule(min_n=10**6), gathered(rule(), stream(2, BASE, 50))) is Verdict.UNKNOWN


@pytest.mark.parametrize("look", [ClassLook(5, {}), ClassLook(5, {"box": (0, 9)}), ClassLook(5, {"box": (9, 0)})])
def test_a_silent_arm_says_nothing(look: ClassLook) -> None:
    """Neither a shift nor its absence."""
    assert gathered(rule(), [look] * 3) == Evidence()
    assert canary_value(rule(), Evidence()) is None


def test_a_mix_that_moves_with_the_weight_is_no_shift() -> None:
    """Stable and canary agree at each weight; pooled over both, 0.4 nats would lie between them."""
    early, late = stream(3, BASE, 40), stream(4, BASE[::-1], 40, weight=90, base=BASE[::-1])
    evidence = gathered(rule(), [*early, *late])
    pooled = add_tallies(*evidence.tallies.values())
    assert shift_size(pooled) > 0.2
    assert not shift_is_proved(rule(), evidence)
    assert judge_evidence(rule(), evidence) is Verdict.PASS
    assert canary_value(rule(), evidence) == pytest.approx(0.0, abs=0.01)


def test_a_shift_within_the_limit_is_told_and_allowed() -> None:
    """The alarm is on any difference, the verdict on one over the limit: here 0.02 nats of 0.2."""
    moved = (0.35, 0.30, 0.20, 0.15)
    evidence = gathered(rule(), stream(5, moved, 60))
    assert shift_is_proved(rule(), evidence)
    assert judge_evidence(rule(), evidence) is Verdict.PASS
    assert canary_value(rule(), evidence) == pytest.approx(0.027, abs=0.01)


def test_what_is_kept_is_what_the_alarm_would_hold() -> None:
    """Stored and read back between the looks of one weight, the log-wealth is that of one uninterrupted test."""
    looks, whole = stream(6, (0.3, 0.3, 0.2, 0.2), 20), ShiftTest(len(NAMES))
    for look in looks:
        whole.update(*np.array([look.tallies[name] for name in NAMES]).T)
    assert gathered(rule(), looks).shift_log_wealth == pytest.approx(whole.log_e, rel=1e-12)


def test_a_class_that_only_one_version_knows_counts() -> None:
    """A canary with a class more than the stable version, which it gives to every second row."""
    looks = [ClassLook(5, {"box": (200, 1600), "new": (200, 0)})] * 40
    assert judge_evidence(rule(), gathered(rule(), looks)) is Verdict.FAIL
