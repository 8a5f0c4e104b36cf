"""What the worker processes of one server know of each other: who is ready, what each has counted, whose answer it was.

Workers share a port, so a client cannot choose which of them it asks. What concerns all of them (readiness, the
metrics page, loading and unloading) or one in particular (a label for an answer that it gave) is therefore passed on
over a socket that each opens for the others, behind a token that they alone have.
"""

from __future__ import annotations

import asyncio
import mmap
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass, field

from sextant_serving.access import Access
from sextant_serving.batching import Traffic
from sextant_serving.connection import Connection, HttpServer
from sextant_serving.errors import WorkerSilent
from sextant_serving.exchange import FAULTS, Streams, exchange
from sextant_serving.http_types import Handler, Limits, Refuse, Response
from sextant_serving.metrics_page import State, StateReader
from sextant_serving.options import MOST_WORKERS

ASK_SECONDS = 2.0  # a worker answers these from its event loop, within milliseconds however busy its device is
LOAD_SECONDS = 600.0  # reading, verifying and warming up a bundle


@dataclass(frozen=True)
class Company:
    """What a server's workers are given before they are forked.

    `flags` is memory that all of them see, a byte for each that is ready. `prefix` begins the ids of every answer.
    """

    count: int
    flags: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, MOST_WORKERS))
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    prefix: str = field(default_factory=lambda: secrets.token_hex(6))

    def address(self, number: int) -> str:
        """Return the name of a worker's socket: in Linux's abstract space, which needs no writable folder."""
        return f"\0sextant-{self.prefix}-{number}"


@dataclass(frozen=True)
class Seat:
    """A worker's place: its number from 0, the end of a pipe that closes with the process that started it, its GPU."""

    company: Company
    number: int
    life: int
    gpu: str | None = None


class Siblings:
    """What one worker among `company`, by its number, knows of the others and asks of them."""

    def __init__(self, company: Company, number: int) -> None:
        self._company, self._number = company, number
        self._others = [other for other in range(company.count) if other != number]
        self._reader = StateReader()
        self._headers = ((b"host", b"worker"), (b"authorization", b"Bearer %b" % company.token.encode()))
        self.id_prefix = f"{company.prefix}{number:02x}"

    def mark(self, *, ready: bool) -> None:
        """Tell the others whether this worker is ready."""
        self._company.flags[self._number] = ready

    @property
    def all_ready(self) -> bool:
        """Tell whether every worker is."""
        return all(self._company.flags[: self._company.count])

    def owner_of(self, prediction_id: str) -> int | None:
        """Return which other worker made an answer, None if it was this one or none of them."""
        prefix, number = prediction_id[: len(self._company.prefix)], prediction_id[len(self._company.prefix) :][:2]
        with suppress(ValueError):
            if prefix == self._company.prefix and int(number, 16) in self._others:
                return int(number, 16)
        return None

    @property
    def common_prefix(self) -> str:
        """How the ids of every worker's answers begin."""
        return self._company.prefix

    async def states(self) -> list[State]:
        """Return what every other worker has counted. Raises WorkerSilent: a sum without one would look like a fall."""
        answers = await self._ask_all(b"GET", b"/counters", ASK_SECONDS)
        return [self._reader.read(answer.body) for answer in answers]

    async def tell_all(self, target: bytes) -> list[Response]:
        """Have every other worker carry out a change of what is served."""
        return await self._ask_all(b"POST", target, LOAD_SECONDS)

    async def pass_on(self, owner: int, target: bytes, body: bytes) -> Response:
        """Return another worker's answer to a request."""
        return await self._ask(owner, b"POST", target, ASK_SECONDS, body)

    async def _ask_all(self, method: bytes, target: bytes, seconds: float) -> list[Response]:
        return await asyncio.gather(*(self._ask(other, method, target, seconds) for other in self._others))

    async def _ask(self, other: int, method: bytes, target: bytes, seconds: float, body: bytes = b"") -> Response:
        try:
            async with asyncio.timeout(seconds):
                streams = await _connect(self._company.address(other))
                return await exchange(streams, method, target, self._headers, body)
        except FAULTS as error:
            raise WorkerSilent(other) from error

    async def listen(self, handle: Handler, refuse: Refuse) -> asyncio.AbstractServer:
        """Answer the other workers by `handle` until the returned server is closed."""
        server = HttpServer(handle, refuse, Traffic(), Limits(), Access(self._company.token, None).admit)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self._company.address(self._number))
        return await asyncio.get_running_loop().create_unix_server(lambda: Connection(server), sock=listener)


async def _connect(address: str) -> Streams:
    """Open a connection to a worker's socket."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.connect(address)  # a Unix socket connects at once or not at all
        return await asyncio.open_unix_connection(sock=connection)
    except OSError:
        connection.close()
        raise
