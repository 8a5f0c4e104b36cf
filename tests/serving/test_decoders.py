"""Who is decoded, who is refused, and who is given up."""

from __future__ import annotations

import asyncio
import io
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from itertools import count, repeat
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.virtual_time import Clock, run_on

from sextant_plan.schema import ImageInput
from sextant_serving.decoders import Decoded, Decoders
from sextant_serving.errors import BadPicture, DeadlineExceeded, Overloaded
from sextant_serving.picture_headers import PNG, SEGMENTS_A_REQUEST, claimed_pixels
from sextant_serving.preprocessing import MAX_PIXELS

SPEC = ImageInput(height=8, width=8, channels=1)
THREADS = 2
MEGAPIXEL = 0.05  # seconds that the simulated threads take for it: five times what is guessed at first


def picture(megapixels: float, note: bytes = b"") -> bytes:
    """Return the start of a PNG file of so many million pixels."""
    return PNG + bytes(8) + (1000).to_bytes(4) + int(megapixels * 1000).to_bytes(4) + note


class Threads(Executor):
    """Threads on a virtual clock: work is done when it begins, and takes the time that its pictures say."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._inside = clock, 0.0
        self._free, self._queue = THREADS, deque[tuple[Future[Any], Callable[[], Any]]]()
        self.megapixel, self.opening = MEGAPIXEL, 0.0
        self.factors: Iterator[float] = repeat(1.0)  # of the pictures' times
        self.decoded: list[bytes] = []

    def clock(self) -> float:
        """Return the seconds, for work as far as it has come."""
        return max(self._inside, self._clock.now)

    def decode(self, data: bytes, spec: ImageInput) -> NDArray[np.uint8]:
        """Take the time of the picture's pixels."""
        self.decoded.append(data)
        self._inside += self.opening + next(self.factors) * claimed_pixels([data])[0] / 1e6 * self.megapixel
        if data.endswith(b"bad"):
            raise BadPicture("bad")
        return np.zeros((spec.height, spec.width, spec.channels), np.uint8)

    def submit(self, work: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        """Queue work."""
        future: Future[Any] = Future()
        self._queue.append((future, partial(work, *args)))
        self._begin()
        return future

    def _begin(self) -> None:
        while self._free and self._queue:
            future, work = self._queue.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            self._free -= 1
            self._inside = self._clock.now
            try:
                end = partial(future.set_result, work())
            except Exception as error:
                end = partial(future.set_exception, error)
            asyncio.get_running_loop().call_at(self._inside, self._end, end)
            self._inside = 0.0

    def _end(self, end: Callable[[], None]) -> None:
        self._free += 1
        end()
        self._begin()


class Simulation:
    """Decoders on a virtual clock, and what became of the requests."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.threads = Threads(self.clock)
        self.ends: dict[str, list[float]] = {"answered": [], "refused": [], "late": [], "bad": []}

    def run(self, scenario: Callable[[Simulation], Coroutine[Any, Any, None]]) -> None:
        """Run the scenario on a loop of the virtual clock."""
        self.decoders = Decoders(self.threads, THREADS, decode=self.threads.decode, clock=self.threads.clock)
        run_on(self.clock, scenario(self))

    async def ask(self, pictures: list[bytes], deadline: float) -> str:
        """Send a request; returns how it ended, and notes how many seconds that took."""
        begun = self.clock.now
        try:
            decoded: Decoded = await self.decoders.start(pictures, SPEC, begun + deadline, deadline)
            assert len(decoded.image) == len(decoded.seconds) == len(pictures)
            end = "answered"
        except Overloaded:
            end = "refused"
        except DeadlineExceeded:
            end = "late"
        except BadPicture:
            end = "bad"
        self.ends[end].append(self.clock.now - begun)
        return end


@pytest.mark.parametrize("load", [0.5, 2.0, 10.0])
def test_what_is_accepted_is_decoded_in_time_whatever_is_offered(load: float) -> None:
    """At twice and ten times the capacity the excess is refused at once, and the threads do as much as they can.

    Pictures of 1 to 9 million pixels take 50 to 450 ms, give or take four fifths of it, so two threads do 8 a second;
    the deadline is 2.5 s.
    """
    seconds, deadline = 100.0, 2.5

    async def scenario(simulation: Simulation) -> None:
        generator, clients = np.random.default_rng(3), []
        simulation.threads.factors = (float(generator.uniform(0.2, 1.8)) for _ in count())
        while simulation.clock.now < seconds:
            await asyncio.sleep(generator.exponential(1 / (8 * load)))
            data = picture(float(generator.integers(1, 10)))
            clients.append(asyncio.ensure_future(simulation.ask([data], deadline)))
        await asyncio.gather(*clients)

    simulation = Simulation()
    simulation.run(scenario)
    answered, refused, late = (simulation.ends[end] for end in ("answered", "refused", "late"))
    assert len(late) <= 0.01 * len(answered)
    assert max(answered) <= deadline
    assert max(refused, default=0.0) == 0.0
    assert len(answered) >= 0.95 * min(load, 1.0) * 8 * seconds * (0.95 if load < 1 else 1)
    assert (len(refused) > 0.2 * len(answered)) == (load > 1)


def test_a_request_ends_at_its_deadline_and_the_rest_of_it_is_not_decoded() -> None:
    """Of 12 pictures of 0.3 s each those are decoded that began within the second; the answer waits for none."""

    async def scenario(simulation: Simulation) -> None:
        assert await simulation.ask([picture(6)] * 12, 1.0) == "late"
        assert simulation.ends["late"] == [1.0]
        assert len(simulation.threads.decoded) == 4

    Simulation().run(scenario)


def test_a_request_that_waited_in_vain_is_never_begun() -> None:
    """Its place is free at its deadline, and no thread takes it up later."""

    async def scenario(simulation: Simulation) -> None:
        simulation.threads.opening = 0.9
        busy = [asyncio.ensure_future(simulation.ask([b"claims nothing"], 1.0)) for _ in range(THREADS)]
        await asyncio.sleep(0)
        assert await simulation.ask([picture(1)], 0.5) == "late"
        assert await asyncio.gather(*busy) == ["answered"] * THREADS
        assert simulation.threads.decoded == [b"claims nothing"] * THREADS

    Simulation().run(scenario)


def test_pictures_that_take_too_long_leave_room_for_others() -> None:
    """Of requests that cannot be done in time one is tried, others are refused; small ones are answered beside it."""

    async def scenario(simulation: Simulation) -> None:
        bombs = [asyncio.ensure_future(simulation.ask([picture(16)] * 12, 1.0)) for _ in range(4)]
        await asyncio.sleep(0.3)
        for _ in range(3):
            assert await simulation.ask([picture(0.1)], 1.0) == "answered"
        assert await asyncio.gather(*bombs) == ["late", "refused", "refused", "refused"]
        assert max(simulation.ends["answered"]) < 0.1

    Simulation().run(scenario)


def test_a_request_counts_for_no_more_than_its_deadline_leaves_it() -> None:
    """Who comes after one that would take ten seconds, and has one, does not wait for ten."""

    async def scenario(simulation: Simulation) -> None:
        assert await simulation.ask([picture(4)], 1.0) == "answered"  # what pixels take is known from it
        requests = [picture(16)] * 12, [picture(4)]
        before = [asyncio.ensure_future(simulation.ask(pictures, 1.0)) for pictures in requests]
        await asyncio.sleep(0)
        assert await simulation.ask([picture(1)], 3.0) == "answered"
        assert await asyncio.gather(*before) == ["late", "answered"]

    Simulation().run(scenario)


def test_a_picture_that_is_never_decoded_is_refused_for_good_at_once() -> None:
    """Whether or not others are being decoded; it takes no place from them."""

    async def scenario(simulation: Simulation) -> None:
        huge = picture(MAX_PIXELS / 1e6 + 1)
        assert await simulation.ask([picture(1), huge], 1.0) == "bad"
        busy = [asyncio.ensure_future(simulation.ask([picture(9)], 1.0)) for _ in range(THREADS)]
        await asyncio.sleep(0)
        assert await simulation.ask([huge], 1.0) == "bad"
        assert simulation.ends["bad"] == [0.0, 0.0]
        assert await asyncio.gather(*busy) == ["answered"] * THREADS
        assert simulation.threads.decoded == [picture(9)] * THREADS

    Simulation().run(scenario)


def test_a_mean_that_is_too_long_is_soon_forgotten() -> None:
    """After slow pictures nobody is refused for good: who finds the threads idle is taken, and is measured."""

    async def scenario(simulation: Simulation) -> None:
        simulation.threads.megapixel = 1.0
        assert await simulation.ask([picture(5)], 10.0) == "answered"
        simulation.threads.megapixel = MEGAPIXEL
        for _ in range(30):
            assert await simulation.ask([picture(5)], 0.5) == "answered"
        assert await asyncio.gather(*[simulation.ask([picture(5)], 1.2) for _ in range(4)]) == ["answered"] * 4

    Simulation().run(scenario)


def test_pictures_that_fail_and_clients_that_leave_give_their_place_back() -> None:
    """As many as one likes, one after the other."""

    async def scenario(simulation: Simulation) -> None:
        for _ in range(20):
            assert await simulation.ask([picture(9, b"bad")], 0.5) == "bad"
            leaving = [asyncio.ensure_future(simulation.ask([picture(9)], 0.5)) for _ in range(3)]
            await asyncio.sleep(0)
            for client in leaving:
                client.cancel()
            await asyncio.sleep(0.5)
        assert await simulation.ask([picture(9)], 0.5) == "answered"

    Simulation().run(scenario)


def encoded(kind: str, size: tuple[int, int], **options: object) -> bytes:
    """Return a picture as a file."""
    file = io.BytesIO()
    Image.new("RGB", size).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        encoded("PNG", (300, 200)),
        encoded("JPEG", (300, 200)),
        encoded("JPEG", (300, 200), progressive=True, comment=b"\xff\xc0" * 100),
        encoded("JPEG", (300, 200), icc_profile=bytes(200_000)),
    ],
    ids=["PNG", "JPEG", "progressive JPEG with a comment", "JPEG with a long profile"],
)
def test_the_claimed_pixels_are_those_of_the_picture(data: bytes) -> None:
    """Whatever stands before them in the file."""
    assert claimed_pixels([data]) == [300 * 200]


@pytest.mark.parametrize(
    "data",
    [b"", PNG, b"\xff\xd8", b"\xff\xd8\xff\xc0", b"GIF89a", b"\xff\xd8" + b"\xff\xe0\0\2" * 10_000_000],
    ids=["nothing", "start of a PNG", "start of a JPEG", "cut short", "another format", "endless segments"],
)
def test_a_file_that_claims_no_pixels_has_none(data: bytes) -> None:
    """And is given up soon: ten million segments would take a second."""
    assert claimed_pixels([data]) == [0]


def test_the_headers_of_a_request_are_read_only_so_far() -> None:
    """The first pictures' profiles are passed over; what many endless ones cost is bounded, not for each but in all."""
    profiled, endless = encoded("JPEG", (300, 200), icc_profile=bytes(200_000)), b"\xff\xd8" + b"\xff\xe0\0\2" * 1000
    few, many = [endless] * 4, [endless] * SEGMENTS_A_REQUEST
    assert claimed_pixels([profiled, *few, profiled]) == [60_000, 0, 0, 0, 0, 60_000]
    assert claimed_pixels([profiled, *many, profiled, picture(1)]) == [60_000, *[0] * len(many), 0, 1_000_000]


def test_pictures_are_decoded_on_real_threads() -> None:
    """In the request's order."""
    from concurrent.futures import ThreadPoolExecutor

    async def run() -> NDArray[np.uint8]:
        with ThreadPoolExecutor(THREADS) as pool:
            loop = asyncio.get_running_loop()
            files = [encoded("PNG", (size, 100)) for size in (100, 200)]
            white = io.BytesIO()
            Image.new("L", (100, 100), 255).save(white, "PNG")
            pictures = [*files, white.getvalue()]
            return (await Decoders(pool, THREADS).start(pictures, SPEC, loop.time() + 60, 60)).image

    assert asyncio.run(run()).mean(axis=(1, 2, 3)).tolist() == [0, 0, 255]
