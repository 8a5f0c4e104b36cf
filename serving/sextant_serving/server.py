"""The server process: listen, load, become ready, follow the home, drain on SIGTERM."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from sextant_plan.errors import SextantError
from sextant_plan.promotion import ACTIVE_FILE
from sextant_serving.application import Application, refuse
from sextant_serving.batching import Traffic
from sextant_serving.connection import Connection, HttpServer, Limits
from sextant_serving.errors import CannotListen, PortInUse
from sextant_serving.feedback import FeedbackBook
from sextant_serving.home import served_model
from sextant_serving.loading import Source, load
from sextant_serving.metrics import MetricsPage
from sextant_serving.model import Model
from sextant_serving.options import Options

_log = logging.getLogger(__name__)

FOLLOW_SECONDS = 0.2
DECODERS = min(4, os.cpu_count() or 1)


def serve(options: Options) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    Prints the server's URL on standard output once it is ready. Raises PortInUse, BundleCorrupt and the
    other SextantErrors that keep a server from becoming ready.
    """
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Server(options).run())


class Server:
    """One process: the listening socket, the threads, and the model that is served."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._device = ThreadPoolExecutor(1, "device")
        self._lookup = ThreadPoolExecutor(1, "lookup")
        self._loader = ThreadPoolExecutor(1, "loader")
        self._pool = ThreadPoolExecutor(DECODERS, "decode")
        self._page = MetricsPage()
        self._traffic = Traffic()
        self._stop = asyncio.Event()
        self._followed: tuple[int, int] | None = None

    async def run(self) -> None:
        """Serve until told to stop."""
        options, loop = self._options, asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stop.set)
        feedback = FeedbackBook(options.remember, options.feedback_log)
        self._application = Application(self._page, feedback, self._pool)
        limits = Limits(options.max_body_bytes, options.read_seconds, options.idle_seconds)
        self._http = HttpServer(self._application.handle, refuse, self._traffic, limits)
        listener = await self._listen()
        url = "http://{}:{}".format(*listener.sockets[0].getsockname()[:2])
        _log.info("listening on %s", url)
        sweeper = loop.create_task(self._http.sweep())
        try:
            await self._until_stopped(url)
        finally:
            await self._drain(listener)
            sweeper.cancel()
            feedback.close()

    async def _listen(self) -> asyncio.Server:
        options, loop = self._options, asyncio.get_running_loop()
        try:
            return await loop.create_server(
                lambda: Connection(self._http), options.host, options.port, backlog=1024, reuse_address=True
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(options.host, options.port) from error
            raise CannotListen(options.host, options.port, error.strerror or type(error).__name__) from error

    async def _until_stopped(self, url: str) -> None:
        """Load, announce and follow; return when told to stop, raise what loading raises."""
        loop = asyncio.get_running_loop()
        stopped = loop.create_task(self._stop.wait())
        work = loop.create_task(self._work(url))
        await asyncio.wait((stopped, work), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if work.done():
            work.result()
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work

    async def _work(self, url: str) -> None:
        home = self._options.home
        self._followed = _stamp(home) if home is not None else None
        await self._swap()
        print(url, flush=True)
        if home is not None:
            await self._follow(home)
        else:
            await self._stop.wait()

    def _source(self) -> Source:
        options = self._options
        if options.home is None:
            assert options.bundle is not None
            return Source(options.bundle, options.feature_repo, options.model_name, variant=options.variant)
        active = served_model(options.home)
        repo = Path(active.feature_repo) if active.feature_repo else None
        name = options.model_name or active.name
        return Source(Path(active.bundle), repo, name, active.version, active.digest, options.variant)

    async def _swap(self) -> None:
        """Load what is to be served beside what is, then put it in place; requests under way keep their model."""
        loop = asyncio.get_running_loop()
        source = self._source()
        loaded = await loop.run_in_executor(
            self._loader, lambda: load(source, threads=self._options.threads, lookup_thread=self._lookup)
        )
        model = Model(loaded, self._traffic, device=self._device, lookup_thread=self._lookup)
        self._traffic.patience = loaded.spec.serving.max_wait
        previous, self._application.model = self._application.model, model
        model.metrics.ready = True
        self._page.show(model.metrics)
        if previous is not None:
            previous.metrics.ready = False
        _log.info("serving %s version %s (%s)", model.name, model.version, loaded.spec.digest)

    async def _follow(self, home: Path) -> None:
        """Swap whenever active.json is replaced; a bundle that cannot be served leaves the old one in place."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            stamp = _stamp(home)
            if stamp is None or stamp == self._followed:
                continue
            self._followed = stamp
            try:
                await self._swap()
            except SextantError as error:
                _log.error("still serving the previous model: %s", error)
            except Exception:  # a file or a library that fails must not take the model in service with it
                _log.exception("still serving the previous model")

    async def _drain(self, listener: asyncio.Server) -> None:
        """Not ready first, then no new connections, then finish what has begun."""
        self._application.draining = True
        if self._application.model is not None:
            self._application.model.metrics.ready = False
            await asyncio.sleep(self._options.linger_seconds)
        listener.close()
        await self._http.drain(self._options.drain_seconds)
        for executor in (self._pool, self._loader, self._lookup, self._device):
            executor.shutdown(wait=False, cancel_futures=True)


def _stamp(home: Path) -> tuple[int, int] | None:
    """Return what changes when active.json is replaced, None if it is away."""
    try:
        status = (home / ACTIVE_FILE).stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    from sextant_serving.options import parse_options

    options = parse_options(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        serve(options)
    except SextantError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    return 0
