"""Anytime-valid tests for canary and A/B decisions: look as often as you like, the error rate holds.

Evidence arrives in looks. Counts are increments since the look before, and are never pooled across looks whose traffic
weights differ, since a baseline that moves with the weight would pass for an effect. Each e-process below is at most
1/alpha with probability 1 - alpha over the whole rollout if its null hypothesis holds (Ramdas et al. 2023,
"Game-theoretic statistics and safe anytime-valid inference"), so crossing 1/alpha at any time is proof at level alpha.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Alternatives as multiples of the null ratio; a mixture over them needs no guess of the true one.
MULTIPLIERS = np.array([1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0])
FLOOR = 1e-290  # a beta tail below it is lost to underflow


class Side(StrEnum):
    """Which alternative a test gathers evidence for: that the canary does harm, or that it does none."""

    HARM = "harm"
    SAFE = "safe"


@dataclass(frozen=True)
class Look:
    """Requests (`n`) and bad events among them (`x`) since the look before, canary and stable."""

    n_canary: int
    x_canary: int
    n_stable: int
    x_stable: int

    def __post_init__(self) -> None:
        if not (0 <= self.x_canary <= self.n_canary and 0 <= self.x_stable <= self.n_stable):
            raise ValueError("a look holds at most as many bad events as requests, and none below zero")


@dataclass
class RatioTest:
    """E-process on the ratio of bad-event rates, canary to stable, stratified by look.

    HARM tests "the ratio is at most `ratio`", SAFE "it is at least `ratio`". Within a look the canary's share of the
    bad events is binomial under the null, whatever the baseline rate; exact for ratio 1, approximate otherwise.
    `dispersion` >= 1 divides the evidence where bad events come in bursts (see `overdispersion`).
    """

    ratio: float
    side: Side
    dispersion: float = 1.0
    log_wealth: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(MULTIPLIERS)))

    def update(self, look: Look) -> None:
        """Add one look; a look with a silent arm says nothing and changes nothing."""
        if not look.n_canary or not look.n_stable:
            return
        odds = self.ratio * look.n_canary / look.n_stable
        factors = MULTIPLIERS if self.side is Side.HARM else 1 / MULTIPLIERS
        null, alternative = odds / (1 + odds), odds * factors / (1 + odds * factors)
        gain = look.x_canary * np.log(alternative / null) + look.x_stable * np.log((1 - alternative) / (1 - null))
        self.log_wealth = self.log_wealth + gain / self.dispersion

    @property
    def log_e(self) -> float:
        """The logarithm of the e-value so far; proof at level alpha once it exceeds log(1/alpha)."""
        top = self.log_wealth.max()
        return float(top + np.log(np.exp(self.log_wealth - top).mean()))


def overdispersion(look: Look, correlation: float) -> float:
    """Return by how much bursts inflate the variance of a look's difference, at least 1.

    `correlation` is the intra-look correlation of bad events, measured on stable before the rollout.
    """
    shares = [(1 + correlation * n) / n for n in (look.n_canary, look.n_stable)]
    return max(1.0, sum(shares) / (1 / look.n_canary + 1 / look.n_stable))


def limit_log_e(x: int, n: int, limit: float, side: Side) -> float:
    """Return the log e-value of "the canary's rate is on the other side of `limit`", from totals.

    A beta mixture with mean `limit`, cut at it. HARM gathers evidence for a rate above the limit, SAFE for one below.
    Totals may be pooled, because the limit does not move.
    """
    from scipy.special import betainc, betaincc, betaln, xlog1py, xlogy

    if not 0 <= x <= n or not 0 < limit < 1:
        raise ValueError(f"{x} of {n} bad events against a limit of {limit}")
    tail = betaincc if side is Side.HARM else betainc
    prior = 1.0, (1 - limit) / limit
    posterior = prior[0] + x, prior[1] + n - x
    mass = float(tail(*posterior, limit))
    if mass < FLOOR:  # lost to underflow: far too little of the mixture lies on that side to be evidence for it
        return -math.inf
    mixture = betaln(*posterior) + math.log(mass)
    start = betaln(*prior) + math.log(float(tail(*prior, limit)))
    return float(mixture - start - xlogy(x, limit) - xlog1py(n - x, -limit))


def rate_bounds(x: int, n: int, alpha: float) -> tuple[float, float]:
    """Return a confidence sequence for one rate at level 1 - alpha: the rates that a beta mixture does not reject.

    Beta(1/2, 1/2) mixture; valid at every n at once. Counts must come from one traffic weight.
    """
    from scipy.optimize import brentq
    from scipy.special import betaln, xlog1py, xlogy

    if n == 0:
        return 0.0, 1.0
    top = betaln(x + 0.5, n - x + 0.5) - betaln(0.5, 0.5) + math.log(alpha)

    def excess(rate: float) -> float:
        return float(top - xlogy(x, rate) - xlog1py(n - x, -rate))

    estimate = x / n
    low = brentq(excess, 1e-300, estimate) if x > 0 else 0.0
    high = brentq(excess, estimate, 1 - 1e-16) if x < n else 1.0
    return float(low), float(high)


def difference_bounds(canary: tuple[int, int], stable: tuple[int, int], alpha: float) -> tuple[float, float]:
    """Return bounds on the canary's rate minus the stable one's, each arm as (bad events, requests).

    Four fifths of alpha go to the canary, which has the fewer requests.
    """
    (low_c, high_c), (low_s, high_s) = rate_bounds(*canary, 0.8 * alpha), rate_bounds(*stable, 0.2 * alpha)
    return low_c - high_s, high_c - low_s


@dataclass
class MeanDifference:
    """Asymptotic confidence sequence for the canary's mean minus stable's, stratified by look.

    Each look's difference is weighted by the harmonic sample size, so a baseline that drifts between looks cancels
    (Waudby-Smith et al. 2024, "Time-uniform central limit theory", with the strata's weights).
    """

    weight: float = 0.0
    weighted_difference: float = 0.0
    weighted_variance: float = 0.0
    n_canary: float = 0.0

    def update(self, n: tuple[float, float], mean: tuple[float, float], variance: tuple[float, float]) -> None:
        """Add one look's sizes, means and variances as (canary, stable); a silent arm changes nothing."""
        if min(n) <= 0:
            return
        harmonic = n[0] * n[1] / (n[0] + n[1])
        self.weight += harmonic
        self.weighted_difference += harmonic * (mean[0] - mean[1])
        self.weighted_variance += harmonic**2 * (variance[0] / n[0] + variance[1] / n[1])
        self.n_canary += n[0]

    def bounds(self, alpha: float, *, tuned_for: float = 2000.0) -> tuple[float, float]:
        """Return one-sided bounds, each at level alpha; tightest near `tuned_for` canary observations."""
        if self.weight == 0:
            return -math.inf, math.inf
        spread = -2 * math.log(2 * alpha) + math.log(1 - 2 * math.log(2 * alpha))
        k = spread * self.n_canary / tuned_for
        variance = self.weighted_variance / self.weight**2
        half = math.sqrt(2 * variance * (1 + 1 / k) * math.log1p(math.sqrt(1 + k) / (2 * alpha)))
        centre = self.weighted_difference / self.weight
        return centre - half, centre + half


@dataclass
class ShiftTest:
    """E-process on "both arms draw their classes from one distribution", for K classes.

    Each look is bet on with the shares of the looks before it, the canary's shrunk to the pool's.
    """

    classes: int
    canary: NDArray[np.float64] = field(init=False)
    stable: NDArray[np.float64] = field(init=False)
    log_e: float = 0.0
    shrinkage: float = 20.0

    def __post_init__(self) -> None:
        self.canary, self.stable = np.zeros(self.classes), np.zeros(self.classes)

    def update(self, canary: ArrayLike, stable: ArrayLike) -> None:
        """Add one look's counts by class, each of shape (classes,)."""
        new_c, new_s = np.asarray(canary, dtype=np.float64), np.asarray(stable, dtype=np.float64)
        n_c, n_s = new_c.sum(), new_s.sum()
        if n_c > 0 and n_s > 0:
            pool = self.canary + self.stable + 0.5
            pool /= pool.sum()
            share_c, share_s = (
                (past + self.shrinkage * pool) / (past.sum() + self.shrinkage) for past in (self.canary, self.stable)
            )
            null = (n_c * share_c + n_s * share_s) / (n_c + n_s)
            self.log_e += float(new_c @ np.log(share_c / null) + new_s @ np.log(share_s / null))
        self.canary, self.stable = self.canary + new_c, self.stable + new_s


def shift_size_bounds(canary: ArrayLike, stable: ArrayLike, alpha: float) -> tuple[float, float]:
    """Return bounds on the population stability index between the arms, in nats, from totals of one weight.

    Both have shape (classes,). On the square-root scale the distance is off by at most the sum of the two arms' radii;
    a local approximation, very conservative.
    """
    from scipy.special import gammaln, xlogy

    arms = [np.asarray(counts, dtype=np.float64) for counts in (canary, stable)]
    if min(counts.sum() for counts in arms) == 0:
        return 0.0, math.inf
    classes = len(arms[0])
    p, q = ((counts + 0.5) / (counts.sum() + classes / 2) for counts in arms)
    index = float(((p - q) * np.log(p / q)).sum())
    radius = 0.0
    for counts in arms:
        n = counts.sum()
        mixture = gammaln(counts + 0.5).sum() - gammaln(n + classes / 2) + gammaln(classes / 2)
        mixture -= classes * gammaln(0.5)
        regret = xlogy(counts, counts / n).sum() - mixture
        radius += math.sqrt(2 * (math.log(2 / alpha) + regret) / n)
    root = math.sqrt(index)
    return max(0.0, root - radius) ** 2, (root + radius) ** 2
