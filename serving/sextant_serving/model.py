"""A loaded bundle that answers batches: features, network, fallbacks and counters together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any
from weakref import WeakMethod

import numpy as np
from numpy.typing import NDArray

from sextant_plan.catalogue import FEATURE_FAILURE, FEATURE_OUTAGE, LOW_CONFIDENCE, OUT_OF_DISTRIBUTION
from sextant_serving.batching import Batcher, Job, RunBatch, Traffic
from sextant_serving.device import Device
from sextant_serving.engines import Inputs
from sextant_serving.errors import FeatureFailure, FeatureOutage, MissingFeatures, RequestError
from sextant_serving.loading import Loaded
from sextant_serving.lookups import Found, Lookups
from sextant_serving.prediction_log import ModelLog
from sextant_serving.preprocessing import encode_columns, picture_statistics
from sextant_serving.row_counts import Seen, Statistics
from sextant_serving.rows import Answer, Rows, Signature, Times, joined
from sextant_serving.stand_ins import Guarded


@dataclass(frozen=True, slots=True)
class Computed:
    """A batch after the device: `outputs` FP32 (rows, classes or 1), and the seconds that the device took.

    `statistics` are the pictures' if they decide. `stood_in` says who answered for a network that failed, which it
    does for all rows of a batch.
    """

    inputs: Inputs
    statistics: Statistics | None
    outputs: NDArray[np.float32]
    stood_in: str | None
    seconds: float


class Model:
    """A loaded model at work: its queue, its device thread and its feature lookups."""

    def __init__(
        self,
        loaded: Loaded,
        traffic: Traffic | None,
        *,
        device: Executor,
        lookup_thread: Executor,
        log: ModelLog | None = None,
    ) -> None:
        self.name, self.version, self.spec, self.metrics = loaded.name, loaded.version, loaded.spec, loaded.metrics
        self.variant = loaded.metrics.labels[2]
        self.attach, self.log = loaded.attach, log
        self.signature = Signature(loaded.spec)
        self.form = self.signature.form
        self._engine = Guarded(loaded.engine, loaded.stand_ins)
        self._training_range = loaded.training_range
        self.device_thread, self.lookup_thread = device, lookup_thread
        # A copy for a shadow never takes the loop's time.
        self._device = Device(device, here=traffic is not None)
        self.timed = False  # whether answers say when they passed each stage
        self._loop = asyncio.get_running_loop()
        serving = loaded.spec.serving
        self._lookups: Lookups | None = None
        if loaded.lookup is not None:
            requested, patience = list(self.signature.requested), serving.deadline / 2
            self._lookups = Lookups(loaded.lookup, lookup_thread, self.metrics, requested=requested, patience=patience)
        self.batcher = Batcher(
            _unheld(self._answer_batch),
            traffic,
            max_rows=serving.max_rows,
            max_wait=serving.max_wait,
            queue_rows=serving.queue_rows,
            deadline=serving.deadline,
            slots=2 if loaded.lookup else 1,  # one batch is looked up while another is on the device
        )

    def _answer_batch(self, jobs: list[Job]) -> Awaitable[None] | None:
        """Answer a short batch that needs no lookup at once, any other by the end of what is returned."""
        taken = time.monotonic()
        for job in jobs:
            self.metrics.queue_seconds.observe(taken - job.arrived)
        if self._lookups is not None:
            return self._answer_with_lookup(jobs, taken)
        rows = _count(jobs)
        if not self._device.is_short(rows):
            return self._answer_on_device(jobs, rows, {}, taken)
        self._tell(jobs, self._device.run_here(rows, lambda: self._compute(jobs, rows, {})), {}, taken)
        return None

    async def _answer_with_lookup(self, jobs: list[Job], taken: float) -> None:
        found = await self._look_up(jobs)
        looked_up = time.monotonic() if self.timed and found else None
        jobs = self._reject_unserved(jobs, found)
        if jobs:
            await self._answer_on_device(jobs, _count(jobs), found, taken, looked_up)

    async def _answer_on_device(
        self, jobs: list[Job], rows: int, found: dict[Job, Found], taken: float, looked_up: float | None = None
    ) -> None:
        computed = await self._device.run(rows, lambda: self._compute(jobs, rows, found))
        self._tell(jobs, computed, found, taken, looked_up)

    def _tell(
        self,
        jobs: list[Job],
        computed: Computed,
        found: dict[Job, Found],
        taken: float,
        looked_up: float | None = None,
    ) -> None:
        """Answer the jobs and count what was computed for them."""
        outputs, rows = computed.outputs, len(computed.outputs)
        self.metrics.device_seconds.observe(computed.seconds)
        self.metrics.batch_rows.observe(rows)
        self._deliver(jobs, computed, found)
        if self.timed:
            self._note_times(jobs, taken, looked_up, computed.seconds)
        features, image = computed.inputs.get("features"), computed.inputs.get("image")
        missing = self._missing(jobs, rows, found)
        # After the answers: it looks at every pixel with cold caches, and would hold them up for longer than rendering.
        self._loop.call_soon(self.metrics.seen.see, Seen(features, image, outputs, missing, computed.statistics))

    def look_ahead(self, rows: Rows) -> asyncio.Future[Found] | None:
        """Ask for the features of rows that are not yet fit for the queue; None if they need none."""
        if self._lookups is None or rows.features is not None or rows.keys is None:
            return None
        return self._lookups.ask(rows)

    async def _look_up(self, jobs: list[Job]) -> dict[Job, Found]:
        """Return what the store has for each job that needs it; those not asked for ahead share one lookup."""
        asked = {job: job.ahead or self.look_ahead(job.rows) for job in jobs}
        return {job: await future for job, future in asked.items() if future is not None}

    def _reject_unserved(self, jobs: list[Job], found: dict[Job, Found]) -> list[Job]:
        """Answer the jobs that the plan rejects for want of features; return the others."""
        if self.spec.serving.missing_features != "reject":
            return jobs
        kept = []
        for job in jobs:
            reasons = found[job].reasons if job in found else []
            missing = [(row, reason) for row, reason in enumerate(reasons) if reason is not None]
            if not missing:
                kept.append(job)
                continue
            for _, reason in missing:
                self.metrics.fallbacks[reason] += 1
            if not job.future.done():
                job.future.set_exception(_refusal(self.spec.entity or "entity", *missing[0]))
        return kept

    def _compute(self, jobs: list[Job], rows: int, found: dict[Job, Found]) -> Computed:
        """Assemble the batch and run it."""
        inputs: dict[str, NDArray[Any]] = {}
        statistics: Statistics | None = None
        if self.spec.image:
            inputs["image"] = joined([job.rows.image for job in jobs])
            if self._training_range is not None:
                statistics = picture_statistics(inputs["image"])
        if self.spec.columns:
            inputs["features"] = joined([self._features_of(job, found.get(job)) for job in jobs])
        step = self.spec.serving.max_rows
        begun = time.perf_counter()
        parts = [
            self._engine.run({name: array[start : start + step] for name, array in inputs.items()})
            for start in range(0, rows, step)
        ]
        answers = joined([outputs for outputs, _ in parts])
        stood_in = next((reason for _, reason in parts if reason is not None), None)
        return Computed(inputs, statistics, answers, stood_in, time.perf_counter() - begun)

    def _features_of(self, job: Job, found: Found | None) -> NDArray[np.float32]:
        rows = job.rows
        if rows.features is not None:
            return rows.features
        features = np.empty((rows.count, len(self.spec.columns)), dtype=np.float32)
        if rows.sent is not None:
            features[:, self.signature.sent_places] = rows.sent
        if self.signature.stored:
            stored = [row or {} for row in found.rows] if found else [{}] * rows.count
            features[:, self.signature.stored_places] = encode_columns(stored, self.signature.stored)
        return features

    def _missing(self, jobs: list[Job], rows: int, found: dict[Job, Found]) -> NDArray[np.bool_]:
        """Return BOOL (rows of the batch,): where a value was not sent, or not found in the store."""
        missing = np.zeros(rows, dtype=np.bool_)
        for job, part in _parts(jobs):
            if job.rows.missing is not None:
                missing[part] |= job.rows.missing
            if job in found:
                missing[part] |= found[job].missing
        return missing

    def _doubts(self, computed: Computed) -> list[str | None]:
        """Return by row why the model does not stand by its answer, None where it does."""
        unsure = self.form.unsure(computed.outputs, self.spec.serving.abstain_below)
        doubts = [LOW_CONFIDENCE if row else None for row in unsure.tolist()]
        limit = self.spec.serving.abstain_outside
        if self._training_range is not None and limit is not None:
            outside = self._training_range.distance(computed.inputs.get("features"), computed.statistics or {}) > limit
            doubts = [
                OUT_OF_DISTRIBUTION if far else doubt for far, doubt in zip(outside.tolist(), doubts, strict=True)
            ]
        return doubts

    def _deliver(self, jobs: list[Job], computed: Computed, found: dict[Job, Found]) -> None:
        """Split a batch's answers over its jobs, applying the plan's fallbacks."""
        outputs = computed.outputs
        best, doubts = self.form.best(outputs), self._doubts(computed)
        abstained = np.array([doubt is not None for doubt in doubts], dtype=np.bool_)
        fallbacks = [doubt or computed.stood_in for doubt in doubts]
        if found:
            self._apply_missing(jobs, found, abstained, fallbacks)
        self.metrics.count_rows(best, abstained, fallbacks)
        for job, part in _parts(jobs):
            if not job.future.done():
                stored = found[job].rows if job in found else None
                answer = Answer(outputs[part], best[part], abstained[part], fallbacks[part], stored)
                job.future.set_result(answer)

    def _apply_missing(
        self,
        jobs: list[Job],
        found: dict[Job, Found],
        abstained: NDArray[np.bool_],
        fallbacks: list[str | None],
    ) -> None:
        """Mark the rows without stored features, which the plan may want no answer for."""
        for job, part in _parts(jobs):
            if job not in found:
                continue
            reasons = found[job].reasons
            fallbacks[part] = [reason or other for reason, other in zip(reasons, fallbacks[part], strict=True)]
            if self.spec.serving.missing_features == "abstain":
                abstained[part] |= found[job].missing

    def _note_times(self, jobs: list[Job], taken: float, found: float | None, seconds: float) -> None:
        """Write into the answers, which nobody has read yet, when they passed each stage."""
        ended = time.monotonic()
        for job in jobs:
            if not job.future.cancelled() and job.future.exception() is None:
                job.future.result().times = Times(job.arrived, taken, found, ended - seconds, ended)


def _unheld(method: Callable[[list[Job]], Awaitable[None] | None]) -> RunBatch:
    """Return the method without a hold on its model, which every request under way has.

    A model that is replaced is then freed with its last request, and not when the garbage collector comes by.
    """
    reference = WeakMethod(method)

    def run(jobs: list[Job]) -> Awaitable[None] | None:
        alive = reference()
        return None if alive is None else alive(jobs)

    return run


def _refusal(entity: str, row: int, reason: str) -> RequestError:
    """Return the error for a row whose features the plan does not do without."""
    if reason == FEATURE_OUTAGE:
        return FeatureOutage()
    return FeatureFailure(entity) if reason == FEATURE_FAILURE else MissingFeatures(entity, row)


def _count(jobs: Iterable[Job]) -> int:
    return sum(job.rows.count for job in jobs)


def _parts(jobs: Iterable[Job]) -> Iterator[tuple[Job, slice]]:
    """Yield each job with its rows' places in the batch."""
    start = 0
    for job in jobs:
        part = slice(start, start + job.rows.count)
        start = part.stop
        yield job, part
