"""Loading every variant of a process: the champion and its challengers, each with threads of its own.

A variant whose bundle has not changed since the last swap keeps its loaded model, its queue and its counters, so that
a share can be moved at any time without a pause.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from sextant_plan.errors import UsageError
from sextant_serving.batching import Traffic
from sextant_serving.lineup import Lineup
from sextant_serving.loading import Source, load
from sextant_serving.mirror import Mirror, Record
from sextant_serving.model import Model
from sextant_serving.prediction_log import PredictionLog
from sextant_serving.threads import Threads
from sextant_serving.variants import Variants

_log = logging.getLogger(__name__)


class Fleet:
    """Keeps the loaded models by variant."""

    def __init__(self, traffic: Traffic, *, engine_threads: int, log: PredictionLog | None, record: Record) -> None:
        self._traffic, self._engine_threads = traffic, engine_threads
        self._log, self._record = log, record
        self._loader = ThreadPoolExecutor(1, "loader")
        self._threads: dict[tuple[str, bool], Threads] = {}  # by variant, and whether it is a shadow
        self._models: dict[tuple[Source, bool], Model] = {}
        self._mirrors: list[Mirror] = []

    async def muster(self, lineup: Lineup) -> Variants:
        """Load what is new in `lineup` and return the set; nothing is replaced if one of them cannot be served.

        Raises as `load` does, and UsageError if a challenger has the champion's variant.
        """
        challengers = list(lineup.challengers)
        if lineup.champion.variant in {setting.variant for setting, _ in challengers}:
            raise UsageError(f"{lineup.champion.variant}: the champion's variant. Give the challenger another name.")
        wanted = [(lineup.champion, False), *((source, setting.role == "shadow") for setting, source in challengers)]
        models = {key: self._models.get(key) or await self._load(*key) for key in wanted}
        self._models = models
        # The threads of a variant that is gone end by themselves when its last request has let go of its model.
        kept = {(source.variant, is_shadow) for source, is_shadow in wanted}
        self._threads = {key: threads for key, threads in self._threads.items() if key in kept}
        champion, *others = models.values()
        placed = [(setting, model) for (setting, _), model in zip(challengers, others, strict=True)]
        if self._log is not None:
            self._log.limit(champion.spec.serving.log)
        self._mirrors = [
            Mirror(model, setting.percent, self._record) for setting, model in placed if setting.role == "shadow"
        ]
        return Variants(champion, placed, lineup.experiment, self._mirrors)

    async def _load(self, source: Source, is_shadow: bool) -> Model:
        key, loop = (source.variant, is_shadow), asyncio.get_running_loop()
        # A priority that was lowered cannot be raised again, so each shadow begins with new threads.
        threads = Threads() if is_shadow else self._threads.get(key) or Threads()
        loaded = await loop.run_in_executor(
            self._loader, lambda: load(source, threads=self._engine_threads, lookup_thread=threads.lookup)
        )
        self._threads[key] = threads
        if is_shadow:
            threads.give_way(loaded.batch_seconds)
        log = self._log.of(loaded.spec, loaded.metrics) if self._log is not None else None
        traffic = None if is_shadow else self._traffic
        _log.info("loaded %s version %s as %s (%s)", loaded.name, loaded.version, source.variant, loaded.spec.digest)
        return Model(loaded, traffic, device=threads.device, lookup_thread=threads.lookup, log=log)

    def stop(self) -> None:
        """Stop every thread."""
        for mirror in self._mirrors:
            mirror.close()
        self._loader.shutdown(wait=False, cancel_futures=True)
        for threads in self._threads.values():
            threads.stop()
