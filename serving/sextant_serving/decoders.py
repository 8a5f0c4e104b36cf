"""Threads that decode pictures, and what waits for them: what could not be decoded in time is refused at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sextant_plan.schema import ImageInput
from sextant_serving.device import recent_mean
from sextant_serving.errors import BadPicture, DeadlineExceeded, Overloaded
from sextant_serving.picture_headers import claimed_pixels
from sextant_serving.preprocessing import MAX_PIXELS, decode_image, decode_small_image

OPENING = 1 << 14  # pixels: what opening any picture takes about as long as
FIRST_GUESS = 1e-8  # seconds a pixel: a PNG's; a camera's JPEG, of which a fraction is decoded, takes a fifth
CAUTION = 2  # the wait counts so many times: pictures differ, and after them the device takes its time

Decode = Callable[[bytes, ImageInput], NDArray[np.uint8]]


class Decoded(NamedTuple):
    """Pictures as one batch, UINT8 (rows, height, width, channels), and the seconds that each took."""

    image: NDArray[np.uint8]
    seconds: list[float]


def decode_all(pictures: Sequence[bytes], spec: ImageInput) -> Decoded:
    """Decode any pictures here and now; raises BadPicture."""
    images, seconds = [], []
    for picture in pictures:
        begun = time.perf_counter()
        images.append(decode_image(picture, spec))
        seconds.append(time.perf_counter() - begun)
    return Decoded(np.stack(images), seconds)


def decode_small(pictures: Sequence[bytes], spec: ImageInput) -> Decoded | None:
    """Decode a single small picture here and now; return None for anything else. Raises BadPicture."""
    if len(pictures) > 1:
        return None
    begun = time.perf_counter()
    image = decode_small_image(pictures[0], spec)
    return None if image is None else Decoded(image[np.newaxis], [time.perf_counter() - begun])


class _Job(NamedTuple):
    """A request's pictures, and the pixels that each claims to have, 0 if unknown."""

    pictures: Sequence[bytes]
    spec: ImageInput
    pixels: list[int]
    until: float
    deadline: float


class Decoders:
    """Decodes requests' pictures on the `threads` of a pool, a request's one after the other, in the requests' order.

    How long a request would wait is known from the pixels that its pictures and those before it claim to have, and
    from a running mean of what pixels took. A request that finds nobody is always accepted, so that the mean is never
    too long for good.
    """

    def __init__(
        self,
        pool: Executor,
        threads: int,
        *,
        decode: Decode = decode_image,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use `pool`, which has so many `threads`; `clock` has the zero of the event loop's."""
        self._pool, self._threads, self._decode, self._clock = pool, threads, decode, clock
        self._lock = threading.Lock()
        self._jobs, self._pixels = 0, 0.0  # those under way included
        self._mean_pixels, self._mean_seconds = float(OPENING), OPENING * FIRST_GUESS

    def start(self, pictures: Sequence[bytes], spec: ImageInput, until: float, deadline: float) -> Awaitable[Decoded]:
        """Return what gives the decoded pictures, or raises BadPicture, or DeadlineExceeded at `until`.

        `until` is the loop's time, `deadline` the seconds that led to it. Raises BadPicture at once where one claims
        more pixels than are ever decoded, and Overloaded where the pictures are not to be expected by then.
        """
        claimed = claimed_pixels(pictures)
        if max(claimed, default=0) > MAX_PIXELS:
            raise BadPicture(f"more than {MAX_PIXELS} pixels")
        job = _Job(pictures, spec, claimed, until, deadline)
        counted = self._enter(job, until - self._clock())
        work = self._pool.submit(self._work, job)
        work.add_done_callback(lambda _: self._leave(counted))
        return self._finish(asyncio.wrap_future(work), job)

    def _enter(self, job: _Job, left: float) -> float:
        """Return the pixels that a job counts for; raise Overloaded if it cannot be expected in the seconds `left`."""
        pixels = sum(job.pixels) + OPENING * len(job.pixels)
        with self._lock:
            rate = self._mean_seconds / self._mean_pixels
            wait = self._pixels * rate / self._threads if self._jobs >= self._threads else 0.0
            if self._jobs and CAUTION * wait + pixels * rate > left:
                raise Overloaded(wait)
            counted = min(pixels, max(left, 0.0) / rate)  # at its deadline it is given up
            self._jobs += 1
            self._pixels += counted
        return counted

    def _leave(self, counted: float) -> None:
        with self._lock:
            self._jobs -= 1
            self._pixels -= counted

    async def _finish(self, decoding: asyncio.Future[Decoded], job: _Job) -> Decoded:
        try:
            async with asyncio.timeout_at(job.until):
                return await decoding
        except TimeoutError:
            raise DeadlineExceeded(job.deadline) from None

    def _work(self, job: _Job) -> Decoded:
        """Decode a job's pictures, on a thread, and leave off at its deadline."""
        images, seconds = [], []
        for picture, pixels in zip(job.pictures, job.pixels, strict=True):
            begun = self._clock()
            if begun >= job.until:
                raise DeadlineExceeded(job.deadline)
            images.append(self._decode(picture, job.spec))
            seconds.append(self._clock() - begun)
            if pixels:
                self._learn(pixels + OPENING, seconds[-1])
        return Decoded(np.stack(images), seconds)

    def _learn(self, pixels: int, seconds: float) -> None:
        with self._lock:
            self._mean_pixels = recent_mean(self._mean_pixels, pixels)
            self._mean_seconds = recent_mean(self._mean_seconds, seconds)
