"""The server process: listen, load, become ready, follow the home, drain on SIGTERM; a second one ends the linger."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from sextant_plan.errors import SextantError
from sextant_plan.promotion import ACTIVE_FILE
from sextant_serving.access import Access, read_token
from sextant_serving.application import Application, refuse
from sextant_serving.batching import Traffic
from sextant_serving.decoders import Decoders
from sextant_serving.errors import LOG_KEY
from sextant_serving.feedback import FeedbackBook
from sextant_serving.fleet import Fleet
from sextant_serving.http_types import Handler
from sextant_serving.lineup import lineup_of
from sextant_serving.logs import configure
from sextant_serving.metrics_page import MetricsPage
from sextant_serving.options import Options
from sextant_serving.peers import Address, Peers
from sextant_serving.ports import Ports
from sextant_serving.prediction_log import PredictionLog
from sextant_serving.reading import json_limit
from sextant_serving.repository import Repository
from sextant_serving.routes import resolve
from sextant_serving.sibling_calls import SiblingCalls
from sextant_serving.siblings import Seat, Siblings
from sextant_serving.tracing import start_tracing

_log = logging.getLogger(__name__)

FOLLOW_SECONDS = 0.2
THREADS = min(4, os.cpu_count() or 1)  # that decode pictures, and as many that run attachment functions


def serve(options: Options, seat: Seat | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return; with a `seat`, as one of several workers.

    Prints the URLs of its ports, HTTP's first, on standard output once it is ready. Raises PortInUse,
    BundleCorrupt and the other SextantErrors that keep a server from becoming ready.
    """
    import uvloop

    if seat is not None and seat.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = seat.gpu  # read when an engine's library is loaded, which is later
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Server(options, seat).run())


class Server:
    """One process: the listening socket, the threads, and the model that is served."""

    def __init__(self, options: Options, seat: Seat | None = None) -> None:
        self._options, self._seat = options, seat
        self._siblings = Siblings(seat.company, seat.number) if seat else None
        self._pool = ThreadPoolExecutor(THREADS, "attach")
        self._decoding = ThreadPoolExecutor(THREADS, "decode")
        self._page = MetricsPage()
        self._traffic = Traffic()
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        self._swapping = asyncio.Lock()
        self._tracing = start_tracing(options.otlp_endpoint)
        self._followed: tuple[int, int] | None = None

    async def run(self) -> None:
        """Serve until told to stop."""
        options, loop = self._options, asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._on_signal)
        if self._seat is not None:
            loop.add_reader(self._seat.life, self._on_orphaned)
        feedback = FeedbackBook(options.remember, options.feedback_log)
        key = os.environ.get(LOG_KEY)
        log = PredictionLog(options.prediction_log, key.encode() if key else None) if options.prediction_log else None
        decoders = Decoders(self._decoding, THREADS)
        json_bytes = json_limit(options.max_body_bytes)
        self._application = Application(
            self._page, feedback, self._pool, decoders, self._siblings, json_bytes=json_bytes
        )
        self._fleet = Fleet(
            self._traffic, engine_threads=options.threads, log=log, record=self._application.record_copy
        )
        access = Access(read_token(options.token_file), read_token(options.admin_token_file))
        repository = Repository(self._application, self._reload, access, self._siblings)
        self._application.repository = repository.handle
        handle: Handler = self._application.handle
        if self._tracing is not None:
            self._application.note_stages = self._tracing.add_stages
            handle = self._tracing.traced(handle, resolve)
        self._ports = Ports(
            options, handle, None if access.is_open else access.admit, self._traffic, shared=self._seat is not None
        )
        inner = None
        if self._siblings is not None:
            calls = SiblingCalls(self._application, repository, self._page)
            inner = await self._siblings.listen(calls.handle, refuse)
        await self._ports.open(self._application, repository, self._tracing)
        if options.peers:
            tls = self._ports.tls
            context = None if tls is None else tls.peer_context()
            self._application.peers = Peers(options.peers, Address(*self._ports.address), context, self._traffic)
        try:
            await self._until_stopped()
        finally:
            await self._drain()
            if inner is not None:
                inner.close()
            feedback.close()
            if self._tracing is not None:
                self._tracing.close()
            if log is not None:
                log.close()

    def _on_signal(self) -> None:
        """Stop; told a second time, do not linger."""
        (self._hurry if self._stop.is_set() else self._stop).set()

    def _on_orphaned(self) -> None:
        """Stop: the process that started this worker has gone, and nobody else would tell."""
        assert self._seat is not None
        asyncio.get_running_loop().remove_reader(self._seat.life)
        _log.error("the process that started this worker has gone")
        self._stop.set()

    async def _until_stopped(self) -> None:
        """Load, announce and follow; return when told to stop, raise what loading raises."""
        loop = asyncio.get_running_loop()
        stopped = loop.create_task(self._stop.wait())
        work = loop.create_task(self._work())
        await asyncio.wait((stopped, work), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if work.done():
            work.result()
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work

    async def _work(self) -> None:
        home = self._options.home
        self._followed = _stamp(home) if home is not None else None
        await self._reload()
        if self._seat is None:  # else the process that started the workers tells it of all of them
            print(*self._ports.urls, sep="\n", flush=True)
        if home is not None:
            await self._follow(home)
        else:
            await self._stop.wait()

    async def _reload(self) -> None:
        """Swap, after whichever swap is under way."""
        async with self._swapping:
            await self._swap()

    async def _swap(self) -> None:
        """Load what is to be served beside what is, then put it in place; requests under way keep their model."""
        variants = await self._fleet.muster(lineup_of(self._options))
        champion = variants.champion
        self._traffic.patience = champion.spec.serving.max_wait
        previous, self._application.variants = self._application.variants, variants
        for model in previous.models if previous else ():
            model.metrics.ready = False
        for model in variants.models:
            model.metrics.ready, model.timed = True, self._tracing is not None
        self._page.show([model.metrics for model in variants.models])
        _spare_collector()
        others = len(variants.models) - 1
        _log.info("serving %s version %s and %d challengers", champion.name, champion.version, others)

    async def _follow(self, home: Path) -> None:
        """Swap whenever active.json is replaced; a bundle that cannot be served leaves the old one in place."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            stamp = _stamp(home)
            if stamp is None or stamp == self._followed:
                continue
            self._followed = stamp
            try:
                await self._reload()
            except SextantError as error:
                _log.error("still serving the previous model: %s", error)
            except Exception:  # a file or a library that fails must not take the model in service with it
                _log.exception("still serving the previous model")

    async def _drain(self) -> None:
        """Not ready first, then no new connections, then finish what has begun."""
        self._application.draining = True
        self._ports.stop_keeping_alive()
        if self._application.variants is not None:
            for model in self._application.variants.models:
                model.metrics.ready = False
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self._options.linger_seconds)
        await self._ports.drain()
        self._fleet.stop()
        for pool in (self._decoding, self._pool):
            pool.shutdown(wait=False, cancel_futures=True)


def _spare_collector() -> None:
    """Keep the garbage collector from what is loaded, which it would look through again and again in vain."""
    gc.collect()
    gc.freeze()


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
    configure(options.log_format)
    try:
        if options.workers > 1:
            from sextant_serving.workers import serve_together

            return serve_together(options, options.workers, serve)
        serve(options)
    except SextantError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    return 0
