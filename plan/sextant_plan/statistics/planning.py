"""How many rows a test set needs, before anything is measured, and what looking at it again and again costs."""

from __future__ import annotations

import math

from sextant_plan.statistics.proportions import proportion

MAX_ROWS = 10_000_000  # beyond what any test set holds; a limit that close to the truth cannot be planned for


def rows_to_prove(at_least: float, confidence: float) -> int:
    """Return the fewest rows, all of them right, whose lower bound reaches a share of `at_least`, in (0, 1).

    A test set smaller than this cannot pass the criterion, however good the model. So many values also first
    bound the quantile of this share from above by order statistics.
    """
    return math.ceil(math.log(1 - confidence) / math.log(at_least))


def rows_to_decide(at_least: float, expected: float, confidence: float, power: float = 0.8) -> int | None:
    """Return about how many rows prove a share of `at_least` with chance `power` if the true share is `expected`.

    None where no test set does: `expected` is not above `at_least`, or too close to it. The chance as a function of
    the rows is a saw, because counts are whole; from the returned number on it stays near `power` or above.
    """
    if not at_least < expected <= 1:
        return None
    low, high = 1, rows_to_prove(at_least, confidence)
    while chance_to_prove(at_least, expected, high, confidence) < power:
        low, high = high, 2 * high
        if high > MAX_ROWS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if chance_to_prove(at_least, expected, middle, confidence) < power:
            low = middle
        else:
            high = middle
    return high


def chance_to_prove(at_least: float, expected: float, rows: int, confidence: float) -> float:
    """Return how likely `rows` rows of a true share `expected` give a lower bound of `at_least` or more."""
    needed = successes_needed(at_least, rows, confidence)
    if needed is None:
        return 0.0
    from scipy.special import bdtrc

    return float(bdtrc(needed - 1, rows, expected)) if needed > 0 else 1.0


def successes_needed(at_least: float, rows: int, confidence: float) -> int | None:
    """Return the fewest successes in `rows` rows whose lower bound reaches `at_least`; None if not even all do."""
    if proportion(rows, rows, confidence).low < at_least:
        return None
    low, high = -1, rows
    while high - low > 1:
        middle = (low + high) // 2
        if proportion(middle, rows, confidence).low >= at_least:
            high = middle
        else:
            low = middle
    return high


def false_pass_bound(confidence: float, looks: int) -> float:
    """Return the most likely it is that any of `looks` models below a limit passes on the same sealed rows.

    Each look is wrong with chance 1 - confidence at most; choosing the next model by the last result cannot make it
    more than their sum (union bound), which is why looks are counted and bounded.
    """
    return min(1.0, looks * (1 - confidence))
