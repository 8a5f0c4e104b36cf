"""A small weighted front for two servers on one machine, where a cluster has a gateway.

Each request goes to one of them by chance. A label goes to the server that made its prediction, which is known by the
part of the id that a server's answers share.
"""

from __future__ import annotations

import asyncio
import errno
import http.client
import random
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Self

import orjson

from sextant_plan.errors import InfrastructureError
from sextant_serving.batching import Traffic
from sextant_serving.client import Client
from sextant_serving.connection import Connection, HttpServer
from sextant_serving.errors import CannotListen, PortInUse, RequestError
from sextant_serving.http_types import Limits, Request, Response
from sextant_serving.rollout.ports import Arm

THREADS = 16
DRAIN_SECONDS = 10.0
# What belongs to one connection and not to the message (RFC 9110, section 7.6.1), and what each side writes itself.
OWN_HEADERS = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "host", "content-length", "content-type"}
)


class Splitter:
    """Use as a context manager; `weight` is the percentage of requests for the canary and may change at any time.

    Entering raises PortInUse and CannotListen.
    """

    def __init__(self, servers: Mapping[Arm, str], *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.weight = 0
        self._servers, self._host, self._port = dict(servers), host, port
        self._makers: dict[str, Arm] = {}
        self._idle: dict[Arm, deque[Client]] = {arm: deque() for arm in self._servers}
        self._pool = ThreadPoolExecutor(THREADS, "front")
        self._ready = threading.Event()
        self._failure: InfrastructureError | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="front", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._pool.shutdown()
        for clients in self._idle.values():
            while clients:
                clients.pop().close()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = HttpServer(self._handle, _refuse, Traffic(), Limits())
        try:
            listener = await self._loop.create_server(lambda: Connection(server), self._host, self._port)
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            problem = error.strerror or type(error).__name__
            failure = PortInUse(self._host, self._port) if in_use else CannotListen(self._host, self._port, problem)
            self._failure = failure
            self._ready.set()
            return
        self.url = "http://{}:{}".format(*listener.sockets[0].getsockname()[:2])
        self._ready.set()
        await self._stop.wait()
        listener.close()
        await server.drain(DRAIN_SECONDS)

    async def _handle(self, request: Request) -> Response:
        return await self._loop.run_in_executor(self._pool, self._forward, request)

    def _forward(self, request: Request) -> Response:
        arm = self._arm(request)
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in request.headers.items()
            if name == b"content-type" or name.decode("latin-1") not in OWN_HEADERS
        }
        try:
            status, received, body = self._ask(arm, request, headers)
        except (OSError, http.client.HTTPException):
            return Response(502, orjson.dumps({"error": f"the {arm} server does not answer."}))
        if identifier := received.get("x-prediction-id"):
            self._makers[identifier.partition("-")[0]] = arm
        kept = tuple(
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in received.items()
            if name not in OWN_HEADERS
        )
        return Response(status, body, received.get("content-type", "application/json").encode("latin-1"), kept)

    def _arm(self, request: Request) -> Arm:
        if request.target.partition(b"?")[0] == b"/feedback":
            with suppress(ValueError, TypeError, KeyError, AttributeError):
                maker = self._makers.get(orjson.loads(request.body)["prediction_id"].partition("-")[0])
                if maker is not None:
                    return maker
        return "canary" if random.random() * 100 < self.weight else "stable"  # noqa: S311 - a share, no secret

    def _ask(self, arm: Arm, request: Request, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        """Send a request on over a connection that nobody uses, which a failure ends."""
        idle = self._idle[arm]
        try:
            client = idle.pop()
        except IndexError:
            client = Client(self._servers[arm])
        try:
            answer = client.request(
                request.method.decode(), request.target.decode("latin-1"), request.body or None, headers
            )
        except BaseException:
            client.close()
            raise
        idle.append(client)
        return answer


def _refuse(error: RequestError) -> Response:
    return Response(error.status, orjson.dumps({"error": str(error)}), headers=error.headers)
