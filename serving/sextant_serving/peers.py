"""The other pods of a service: a label for a prediction that this pod did not make is passed on to them, once.

A Service gives a label to any pod, and only the one that made the prediction can hold the label against it. The pods
are the addresses of a name. A passed-on label is marked: whoever gets it answers it, or says that it cannot.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from sextant_plan.catalogue import FOUND, FULL, LATER, SILENT, UNKNOWN
from sextant_serving.batching import Traffic
from sextant_serving.exchange import FAULTS, exchange
from sextant_serving.http_types import Request, Response
from sextant_serving.options import PeerName

_log = logging.getLogger(__name__)

PASSED_ON = b"x-sextant-passed-on"
ASK_SECONDS = 1.0  # for one label, whatever the peers do; between pods an answer takes milliseconds
FRESH_SECONDS = 5.0  # that addresses are kept: by default CoreDNS has a Service's kept for as long
MOST_PEERS = 64  # that one label asks
MOST_UNDER_WAY = 64  # labels that are being asked about; with those of 64 peers 4,096 connections, for a second at most
MOST_MAKERS = 1024  # processes, of at most 256 in a pod, whose pods are remembered
ANSWER_BYTES = 1 << 14


class Address(NamedTuple):
    """Where a pod listens."""

    host: str
    port: int


@dataclass(frozen=True)
class Inquiry:
    """What became of a label that was passed on: an outcome of PASSED_ON_LABELS, and the answer of who made it."""

    outcome: str
    answer: Response | None = None


class Peers:
    """The pods behind `names`, without this one, which listens on `here`; asked in TLS by `tls` unless None."""

    def __init__(self, names: Sequence[PeerName], here: Address, tls: ssl.SSLContext | None, traffic: Traffic) -> None:
        self._names, self._here, self._tls, self._traffic = names, here, tls, traffic
        self._under_way = 0
        self._resolving: asyncio.Task[dict[Address, str]] | None = None
        self._fresh_until = 0.0
        self._nameless: set[PeerName] = set()
        # By what the ids of a process begin with. It is random, so that no other process can know such an id.
        self._makers: OrderedDict[str, Address] = OrderedDict()

    async def ask(self, prediction_id: str, request: Request) -> Inquiry:
        """Return what the peers say to a label within ASK_SECONDS; never raises."""
        if self._under_way >= MOST_UNDER_WAY:
            return Inquiry(FULL)
        self._under_way += 1
        self._traffic.held += 1  # or every batch would wait for a label as for a request that is about to come
        try:
            return await self._ask(prediction_id.partition("-")[0], request)
        finally:
            self._under_way -= 1
            self._traffic.held -= 1

    async def _ask(self, maker: str, request: Request) -> Inquiry:
        deadline = asyncio.get_running_loop().time() + ASK_SECONDS
        try:
            async with asyncio.timeout_at(deadline):
                peers = await self._addresses()
        except TimeoutError:
            return Inquiry(SILENT)
        known = self._makers.get(maker)
        asked = [known] if known in peers and known is not None else list(peers)
        tasks = {
            asyncio.ensure_future(self._ask_one(address, peers[address], deadline, request)): address
            for address in asked
        }
        outcome = UNKNOWN
        later: Response | None = None
        try:
            waiting = set(tasks)
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    answer = task.result()
                    if answer is None or answer.status not in (200, 400, 404, 503):
                        outcome = SILENT
                    elif answer.status == 503:  # of who made it, perhaps: then the label can be sent again
                        later = answer
                    elif answer.status != 404:
                        self._remember(maker, tasks[task])
                        return Inquiry(FOUND, answer)
        finally:
            for task in tasks:
                task.cancel()
        return Inquiry(outcome) if later is None else Inquiry(LATER, later)

    async def _ask_one(self, address: Address, name: str, deadline: float, request: Request) -> Response | None:
        """Return a peer's answer, None if there is none in time."""
        headers = [(b"host", name.encode("idna")), (PASSED_ON, b"1"), (b"content-type", b"application/json")]
        if b"authorization" in request.headers:
            headers.append((b"authorization", request.headers[b"authorization"]))
        try:
            async with asyncio.timeout_at(deadline):
                streams = await asyncio.open_connection(
                    *address, ssl=self._tls, server_hostname=name if self._tls is not None else None
                )
                return await exchange(streams, b"POST", b"/feedback", headers, request.body, most=ANSWER_BYTES)
        except FAULTS:
            return None

    def _remember(self, maker: str, address: Address) -> None:
        self._makers[maker] = address
        self._makers.move_to_end(maker)
        if len(self._makers) > MOST_MAKERS:
            self._makers.popitem(last=False)

    async def _addresses(self) -> dict[Address, str]:
        """Return the peers' addresses, each with the name that led there; of all who ask at once one looks them up."""
        loop = asyncio.get_running_loop()
        if self._resolving is None or (self._resolving.done() and loop.time() >= self._fresh_until):
            self._resolving = loop.create_task(self._resolve())
        return await asyncio.shield(self._resolving)

    async def _resolve(self) -> dict[Address, str]:
        found: dict[Address, str] = {}
        for name, addresses in zip(self._names, await asyncio.gather(*map(self._look_up, self._names)), strict=True):
            for address in addresses:
                if not self._is_here(address):
                    found.setdefault(address, name.host)
        self._fresh_until = asyncio.get_running_loop().time() + FRESH_SECONDS
        return dict(list(found.items())[:MOST_PEERS])

    async def _look_up(self, name: PeerName) -> list[Address]:
        """Return a name's addresses of one family: a pod that has two would count a label twice."""
        port = self._here.port if name.port is None else name.port
        try:
            found = await asyncio.get_running_loop().getaddrinfo(name.host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            if name not in self._nameless:
                reason = getattr(error, "strerror", None) or type(error).__name__
                _log.warning("--peers %s has no address: %s. Labels for other pods stay unmatched", name.host, reason)
                self._nameless.add(name)
            return []
        self._nameless.discard(name)
        return [Address(*place[:2]) for family, _, _, _, place in found if family == found[0][0]]

    def _is_here(self, address: Address) -> bool:
        """Tell whether a peer is this pod. Where it is not sure it is none: it would answer a marked label itself."""
        if address.port != self._here.port:
            return False
        return _leads_here(address) if ip_address(self._here.host).is_unspecified else address.host == self._here.host


def _leads_here(address: Address) -> bool:
    """Tell whether the machine reaches an address from that address, which sends nothing."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(address)
        except OSError:
            return False
        return bool(probe.getsockname()[0] == address.host)
