"""Several worker processes on one pair of ports: one for each core or each GPU, started and stopped together.

The kernel spreads connections over the workers, each of which is a whole server. This process reserves the ports,
starts the workers, passes signals on and ends when they have. A worker that dies takes the others with it, by SIGTERM
so that they drain: whoever runs the server starts it again, and its counters begin at 0 in one piece.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from sextant_plan.errors import ExitCode, SextantError
from sextant_serving.errors import CannotListen, PortInUse
from sextant_serving.hardware import visible_gpus
from sextant_serving.options import Options
from sextant_serving.siblings import Company, Seat

_log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
LOOK_SECONDS = 0.02  # between two looks at who is ready, while workers start

Work = Callable[[Options, Seat], None]


def serve_together(options: Options, count: int, work: Work) -> int:
    """Run `work` in `count` processes until told to stop; returns the exit code.

    Prints the URLs of the ports once every worker is ready. Raises PortInUse and CannotListen.
    """
    http = _reserve(options.host, options.port, "--port")
    grpc = None if options.grpc_port is None else _reserve(options.host, options.grpc_port, "--grpc-port")
    bound = replace(options, port=_port(http), grpc_port=None if grpc is None else _port(grpc))
    crew = _Crew(bound, count, work)
    if not crew.start():
        return crew.end()
    tls = "s" if options.tls_cert else ""
    addresses = [f"{name}{tls}://{_address(one)}" for name, one in (("http", http), ("grpc", grpc)) if one is not None]
    print(*addresses, sep="\n", flush=True)
    return crew.end()


class _Crew:
    """The workers of one server, seen from the process that started them."""

    def __init__(self, options: Options, count: int, work: Work) -> None:
        self._options, self._work = options, work
        self._company = Company(count)
        self._gpus = visible_gpus()
        # Nothing is ever written: the workers see its end when this process has gone, however it went.
        self._life, self._alive = os.pipe()
        self._numbers: dict[int, int] = {}
        self._stopping = False
        self._code = 0

    def start(self) -> bool:
        """Start every worker; False if one ended, or a stop was asked for, before all were ready."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        # The first alone: what keeps a bundle from being served is then found and told once.
        for numbers in ([0], range(1, self._company.count)):
            for number in numbers:
                self._numbers[self._fork(number)] = number
            while not all(self._company.flags[number] for number in numbers):
                self._note(signal.sigtimedwait(SIGNALS, LOOK_SECONDS))
                if self._stopping:
                    return False
        return True

    def end(self) -> int:
        """Return the exit code once every worker has ended."""
        while self._numbers:
            self._note(signal.sigwaitinfo(SIGNALS))
        return self._code

    def _fork(self, number: int) -> int:
        pid = os.fork()
        if pid == 0:
            os.close(self._alive)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            gpu = self._gpus[number % len(self._gpus)] if self._gpus else None
            _run_and_exit(self._work, self._options, Seat(self._company, number, self._life, gpu))
        return pid

    def _note(self, info: signal.struct_siginfo | None) -> None:
        if info is None:
            return
        if info.si_signo == signal.SIGCHLD:
            self._reap()
        else:
            self._stop()

    def _reap(self) -> None:
        while self._numbers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            number, code = self._numbers.pop(pid), os.waitstatus_to_exitcode(status)
            if code == 0 and self._stopping:
                continue
            self._code = self._code or (code if code > 0 else int(ExitCode.INFRASTRUCTURE))
            if not self._stopping:
                _log.error("worker %d ended with exit code %d; the others are told to stop", number, code)
                self._stop()

    def _stop(self) -> None:
        self._stopping = True
        for pid in self._numbers:
            os.kill(pid, signal.SIGTERM)


def _run_and_exit(work: Work, options: Options, seat: Seat) -> NoReturn:
    """Do a worker's work and end its process, whatever happens: what called this belongs to the parent."""
    code = 1
    try:
        work(options, seat)
        code = 0
    except SextantError as error:
        print(error, file=sys.stderr)
        code = int(error.exit_code)
    except BaseException:  # not even an exit may go on in the parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _reserve(host: str, port: int, option: str) -> socket.socket:
    """Bind a port that the workers may share, without listening; raises PortInUse and CannotListen."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:  # which is not to be shared: another server's port is not taken
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        reserved = socket.socket(family, kind)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(host, port, option) from error
        raise CannotListen(host, port, error.strerror or type(error).__name__) from error
    return reserved


def _port(bound: socket.socket) -> int:
    return int(bound.getsockname()[1])


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
