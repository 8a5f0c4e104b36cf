"""How long things take: an engine in this process, and a whole request to a running server."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

WARM_UP = 5


def median_ms(act: Callable[[], object], *, repeats: int) -> float:
    """Return the median time of `act`, in milliseconds, after five calls that do not count."""
    for _ in range(WARM_UP):
        act()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return median(times) * 1000
