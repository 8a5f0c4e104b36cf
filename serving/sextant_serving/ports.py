"""The server's two ports: HTTP always, gRPC unless it is off; opened together, drained together."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
from contextlib import suppress
from typing import TYPE_CHECKING

from sextant_serving.application import Application, refuse
from sextant_serving.batching import Traffic
from sextant_serving.connection import Connection, HttpServer
from sextant_serving.errors import CannotListen, PortInUse
from sextant_serving.http_types import Admit, Handler, Limits
from sextant_serving.options import Options
from sextant_serving.repository import Repository
from sextant_serving.tls import KeyPair
from sextant_serving.tracing import Tracing

if TYPE_CHECKING:
    from sextant_serving.grpc_server import GrpcServer

_log = logging.getLogger(__name__)


def most_connections() -> int:
    """Raise the limit of open files to the most that is allowed; half of it may be connections, the rest is ours."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # some systems take no limit that is as high as they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return Limits.connections if files == resource.RLIM_INFINITY else min(files // 2, Limits.connections)


class Ports:
    """Where the server listens; `urls` names the open ports, HTTP first."""

    def __init__(
        self, options: Options, handle: Handler, admit: Admit | None, traffic: Traffic, *, shared: bool = False
    ) -> None:
        """`shared` ports are reserved already, and open in other processes too."""
        self._options, self._traffic, self._shared = options, traffic, shared
        self._limits = Limits(
            options.max_body_bytes,
            options.read_seconds,
            options.idle_seconds,
            options.max_held_bytes,
            most_connections(),
        )
        self._http = HttpServer(handle, refuse, traffic, self._limits, admit)
        self._grpc: GrpcServer | None = None
        self.urls: list[str] = []

    async def open(self, application: Application, repository: Repository, tracing: Tracing | None) -> None:
        """Listen; raises PortInUse, CannotListen and CertificateUnusable."""
        options = self._options
        self.tls = tls = KeyPair(options.tls_cert, options.tls_key) if options.tls_cert and options.tls_key else None
        self._listener = await self._listen(tls)
        self._sweeper = asyncio.get_running_loop().create_task(self._http.sweep())
        self.address: tuple[str, int] = self._listener.sockets[0].getsockname()[:2]
        self.urls = [f"{'https' if tls else 'http'}://{self.address[0]}:{self.address[1]}"]
        if options.grpc_port is not None:
            from sextant_serving.grpc_server import GrpcServer

            self._grpc = GrpcServer(application, repository, self._traffic, tracing, self._limits)
            await self._grpc.start(options.host, options.grpc_port, tls=tls, shared=self._shared)
            self.urls.append(f"{'grpcs' if tls else 'grpc'}://{self._grpc.address}")
        _log.info("listening on %s", " and ".join(self.urls))

    async def _listen(self, tls: KeyPair | None) -> asyncio.Server:
        options, loop = self._options, asyncio.get_running_loop()
        context = tls.http_context() if tls else None
        try:
            return await loop.create_server(
                lambda: Connection(self._http),
                options.host,
                options.port,
                backlog=1024,
                reuse_address=True,
                reuse_port=self._shared,
                ssl=context,
                ssl_handshake_timeout=options.read_seconds if context else None,
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(options.host, options.port) from error
            raise CannotListen(options.host, options.port, error.strerror or type(error).__name__) from error

    def stop_keeping_alive(self) -> None:
        """Let each connection end with its next answer, so that clients move on before the drain."""
        self._http.draining = True

    async def drain(self) -> None:
        """Take no new connections and calls, finish what has begun, break it off after the options' time."""
        seconds = self._options.drain_seconds
        self._listener.close()
        grpc_drain = self._grpc.drain(seconds) if self._grpc else asyncio.sleep(0)
        await asyncio.gather(self._http.drain(seconds), grpc_drain)
        self._sweeper.cancel()
