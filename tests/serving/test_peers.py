"""Labels between pods: each pod is a whole server at an address of its own, and they share a port as pods do."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvloop
from tests.programs import free_port

from sextant_serving import peers
from sextant_serving.access import Access
from sextant_serving.application import Application, refuse
from sextant_serving.batching import Traffic
from sextant_serving.client import Client, Refused, Tensor
from sextant_serving.connection import Connection, HttpServer
from sextant_serving.decoders import Decoders
from sextant_serving.feedback import FeedbackBook
from sextant_serving.http_types import Limits, Request, Response
from sextant_serving.launch import running_server
from sextant_serving.loading import Source, load
from sextant_serving.metrics_page import MetricsPage
from sextant_serving.model import Model
from sextant_serving.options import PeerName, parse_options
from sextant_serving.peers import ASK_SECONDS, MOST_PEERS, PASSED_ON, Address, Peers
from sextant_serving.tls import KeyPair
from sextant_serving.variants import Variants

WritePair = Callable[..., tuple[Path, Path]]

HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
SILENT = "127.0.0.9"
NOBODYS = "0" * 12 + "-1"
ROW: dict[str, Tensor] = {"image": np.zeros((1, 8, 8, 1), np.uint8), "features": np.zeros((1, 2), np.float32)}


@dataclass
class Pod:
    """A server of one worker in this process; `got` are the labels that it was sent, by clients and by peers."""

    host: str
    port: int
    application: Application
    log: Path
    token: str | None
    certificates: Path | None
    traffic: Traffic
    got: list[Request] = field(default_factory=list)

    async def handle(self, request: Request) -> Response:
        """Answer, and note a label."""
        if request.target == b"/feedback":
            self.got.append(request)
        return await self.application.handle(request)

    async def ask(self, what: Callable[[Client], Any]) -> Any:
        """Return what a client of this pod gets."""
        return await asyncio.to_thread(self._ask, what)

    def _ask(self, what: Callable[[Client], Any]) -> Any:
        scheme = "http" if self.certificates is None else "https"
        url = f"{scheme}://{self.host}:{self.port}"
        with Client(url, "parcels", token=self.token, certificates=self.certificates) as client:
            return what(client)

    async def predict(self) -> tuple[str, str]:
        """Return the id of a new prediction and its label."""

        def infer(client: Client) -> tuple[str, str]:
            label = client.infer_binary(ROW)["label"][0]
            assert client.prediction_id is not None
            return client.prediction_id, label

        found: tuple[str, str] = await self.ask(infer)
        return found

    async def label(self, identifier: str, label: str) -> str:
        """Return how a label was met."""
        return str(await self.ask(lambda client: client.send_feedback(identifier, label)))

    def logged(self) -> list[tuple[str, str]]:
        """Return id and outcome of each line of the feedback log."""
        lines = [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]
        return [(line["prediction_id"], line["outcome"]) for line in lines]

    def counted(self, outcome: str) -> int:
        """Return how many labels went from here to the peers with this outcome."""
        assert self.application.model is not None
        return self.application.model.metrics.passed_on[outcome]


Work = Callable[[list[Pod]], Awaitable[None]]


@dataclass
class Service:
    """Pods that are made of one bundle, for one test."""

    bundle: Path
    folder: Path
    hosts: tuple[str, ...] = HOSTS[:2]
    names: tuple[str, ...] = ()  # beside the hosts
    tokens: tuple[str | None, ...] = (None, None, None)
    pairs: tuple[tuple[Path, Path], ...] = ()
    logs: dict[str, Path] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop

    def run(self, work: Work) -> None:
        """Do the work while the pods serve."""

        async def serve() -> None:
            with ThreadPoolExecutor(1) as threads:
                async with AsyncExitStack() as stack:
                    pods = [await self._start(stack, threads, number) for number in range(len(self.hosts))]
                    await asyncio.wait_for(work(pods), 60)

        with asyncio.Runner(loop_factory=self.loop) as runner:
            runner.run(serve())

    async def _start(self, stack: AsyncExitStack, threads: ThreadPoolExecutor, number: int) -> Pod:
        host, token = self.hosts[number], self.tokens[number]
        log = self.logs.get(host, self.folder / f"{number}.jsonl")
        pair = KeyPair(*self.pairs[number]) if self.pairs else None
        loaded = load(Source(self.bundle, name="parcels"), threads=1, lookup_thread=threads)
        book = FeedbackBook(1000, log)
        stack.callback(book.close)
        application = Application(MetricsPage(), book, threads, Decoders(threads, 1))
        application.variants = Variants(Model(loaded, None, device=threads, lookup_thread=threads))
        traffic = Traffic()
        names = [PeerName(name) for name in (self.names or self.hosts)]
        context = pair.peer_context() if pair else None
        application.peers = Peers(names, Address(host, self.port), context, traffic)
        pod = Pod(host, self.port, application, log, token, pair.certificate if pair else None, traffic)
        server = HttpServer(pod.handle, refuse, traffic, Limits(), Access(token, None).admit)
        listener = await asyncio.get_running_loop().create_server(
            lambda: Connection(server), host, self.port, ssl=pair.http_context() if pair else None
        )
        stack.push_async_callback(server.drain, 1)
        stack.callback(listener.close)
        return pod


@pytest.fixture
def service(bundle: Path, tmp_path: Path) -> Service:
    """Two pods that name each other, and themselves."""
    return Service(bundle, tmp_path)


@pytest.fixture
def silent(service: Service) -> Iterator[socket.socket]:
    """A peer that takes connections and says nothing."""
    with closing(socket.create_server((SILENT, service.port))) as listener:
        yield listener


async def timed(waited: Awaitable[Any]) -> tuple[Any, float]:
    """Return a result and the seconds that it took."""
    begun = asyncio.get_running_loop().time()
    return await waited, asyncio.get_running_loop().time() - begun


def test_a_label_is_held_against_its_prediction_whichever_pod_is_sent_it(service: Service) -> None:
    """The maker logs it once and knows that a further one repeats it; the pod in between logs and counts nothing."""
    service.hosts = HOSTS

    async def work(pods: list[Pod]) -> None:
        maker, other, third = pods
        identifier, label = await maker.predict()
        assert await other.label(identifier, label) == "agree"
        assert await third.label(identifier, label) == "repeated"
        assert maker.logged() == [(identifier, "agree"), (identifier, "repeated")]
        assert other.logged() == third.logged() == []
        assert (other.counted("found"), third.counted("found")) == (1, 1)
        assert other.application.model is not None
        assert sum(other.application.model.metrics.feedback.values()) == 0

    service.run(work)


def test_a_process_that_was_found_once_is_asked_alone(service: Service) -> None:
    """The ids of its answers begin alike, so that of several labels the first alone is asked about everywhere."""
    service.hosts = HOSTS

    async def work(pods: list[Pod]) -> None:
        maker, other, third = pods
        for _ in range(4):
            identifier, label = await maker.predict()
            assert await other.label(identifier, label) == "agree"
        assert [len(pod.got) for pod in (maker, other)] == [4, 4]
        assert len(third.got) <= 1  # the maker may have been faster
        assert await other.label(f"{identifier}0000", label) == "unmatched"
        assert len(third.got) <= 1

    service.run(work)


def test_a_rating_finds_its_variant_too(service: Service) -> None:
    async def work(pods: list[Pod]) -> None:
        maker, other = pods
        identifier, _ = await maker.predict()
        await other.ask(lambda client: client.send_rating(identifier, 5))
        ratings = [pod.application.model.metrics.ratings[5] for pod in pods if pod.application.model]
        assert ratings == [1, 0]

    service.run(work)


def test_a_label_that_nobody_remembers_is_unmatched_where_it_came(service: Service) -> None:
    """Each pod is sent it once, itself by nobody; one line says so, and one counter."""
    service.hosts = HOSTS

    async def work(pods: list[Pod]) -> None:
        assert await pods[0].label(NOBODYS, "light") == "unmatched"
        assert [len(pod.got) for pod in pods] == [1, 1, 1]
        assert [pod.logged() for pod in pods] == [[(NOBODYS, "unmatched")], [], []]
        assert pods[0].counted("unknown") == 1
        for pod, count in zip(pods, (1, 0, 0), strict=True):
            assert pod.application.model is not None
            assert pod.application.model.metrics.feedback["unmatched"] == count

    service.run(work)


def test_a_pod_asks_nobody_about_its_own_answers(service: Service) -> None:
    """An id that begins as its own do is known to nobody else, even if it has been forgotten here."""

    async def work(pods: list[Pod]) -> None:
        identifier, label = await pods[0].predict()
        assert await pods[0].label(identifier, label) == "agree"
        assert await pods[0].label(f"{identifier}0000", label) == "unmatched"
        assert pods[1].got == []

    service.run(work)


def test_a_marked_label_goes_no_further(service: Service) -> None:
    """Whoever marks it: it is answered where it comes, and leaves nothing there if it is not known."""

    async def work(pods: list[Pod]) -> None:
        mark = {PASSED_ON.decode(): "1"}
        body = json.dumps({"prediction_id": NOBODYS, "label": "light"}).encode()
        status, _, answer = await pods[0].ask(lambda client: client.request("POST", "/feedback", body, mark))
        assert (status, b"not remembered here" in answer) == (404, True)
        assert pods[1].got == []
        assert pods[0].logged() == []

    service.run(work)


def test_a_server_on_all_addresses_does_not_ask_itself(service: Service) -> None:
    """As a pod's does: of the name's addresses it leaves out the one that it is reached at from itself."""
    service.hosts, service.names = ("0.0.0.0",), ("127.0.0.1",)

    async def work(pods: list[Pod]) -> None:
        pods[0].host = "127.0.0.1"
        assert await pods[0].label(NOBODYS, "light") == "unmatched"
        assert len(pods[0].got) == 1

    service.run(work)


def test_a_silent_peer_costs_a_second_and_only_who_is_unknown(service: Service, silent: socket.socket) -> None:
    """A label that another pod knows does not wait for it; any other is unmatched when the time is over."""
    service.names = (*service.hosts, SILENT)

    async def work(pods: list[Pod]) -> None:
        maker, other = pods
        identifier, label = await maker.predict()
        outcome, seconds = await timed(other.label(identifier, label))
        assert (outcome, seconds < ASK_SECONDS) == ("agree", True)
        outcome, seconds = await timed(other.label(NOBODYS, "light"))
        assert outcome == "unmatched"
        assert ASK_SECONDS <= seconds < 2 * ASK_SECONDS
        assert (other.counted("found"), other.counted("silent")) == (1, 1)
        assert other.logged() == [(NOBODYS, "unmatched")]

    service.run(work)


def test_a_batch_does_not_wait_for_a_label_that_waits_for_a_peer(service: Service, silent: socket.socket) -> None:
    """It is under way, but no prediction comes of it."""
    service.names = (*service.hosts, SILENT)

    async def work(pods: list[Pod]) -> None:
        label = asyncio.create_task(pods[0].label(NOBODYS, "light"))
        while not pods[1].got:
            await asyncio.sleep(0.01)
        assert pods[0].traffic.open == 1
        assert pods[0].traffic.is_nobody_expected()
        await label
        assert (pods[0].traffic.open, pods[0].traffic.held) == (0, 0)

    service.run(work)


def test_a_peer_that_has_gone_costs_nothing(service: Service) -> None:
    """Its address may be told for some seconds longer."""
    service.names = (*service.hosts, SILENT)

    async def work(pods: list[Pod]) -> None:
        outcome, seconds = await timed(pods[0].label(NOBODYS, "light"))
        assert (outcome, seconds < ASK_SECONDS) == ("unmatched", True)
        assert pods[0].counted("silent") == 1

    service.run(work)


def test_beyond_so_many_at_once_a_label_is_unmatched_at_once(
    service: Service, silent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can have the pods ask each other without end."""
    service.names = (*service.hosts, SILENT)
    monkeypatch.setattr(peers, "MOST_UNDER_WAY", 2)

    async def work(pods: list[Pod]) -> None:
        begun = [asyncio.create_task(pods[0].label(f"{number}-1", "light")) for number in range(2)]
        while len(pods[1].got) < 2:
            await asyncio.sleep(0.01)
        outcome, seconds = await timed(pods[0].label(NOBODYS, "light"))
        assert (outcome, seconds < ASK_SECONDS / 2) == ("unmatched", True)
        assert await asyncio.gather(*begun) == ["unmatched"] * 2
        assert (pods[0].counted("full"), pods[0].counted("silent")) == (1, 2)
        assert await pods[0].label("9-1", "light") == "unmatched"
        assert pods[0].counted("silent") == 3

    service.run(work)


def test_the_makers_full_disk_is_told_to_the_client(service: Service) -> None:
    """The label can be sent again, so the pod in between does not write it off as unmatched."""
    service.logs = {HOSTS[0]: Path("/dev/full")}

    async def work(pods: list[Pod]) -> None:
        maker, other = pods
        identifier, label = await maker.predict()
        with pytest.raises(Refused, match=r"503.*Send it again later"):
            await other.label(identifier, label)
        assert other.logged() == []
        assert other.counted("later") == 1

    service.run(work)


def test_the_clients_token_goes_along_and_opens_the_peer(service: Service) -> None:
    """Without it nothing is passed on; at a peer with another token it opens nothing."""
    service.hosts, service.tokens = HOSTS, ("sesame", "sesame", "other")

    async def work(pods: list[Pod]) -> None:
        maker, other, stranger = pods
        identifier, label = await maker.predict()
        unknown, _ = await stranger.predict()
        other.token = None
        with pytest.raises(Refused, match="401"):
            await other.label(identifier, label)
        assert [pod.got for pod in pods] == [[], [], []]
        other.token = "sesame"
        assert await other.label(identifier, label) == "agree"
        assert await other.label(unknown, label) == "unmatched"
        assert stranger.got == []
        assert other.counted("silent") == 1

    service.run(work)


def test_pods_with_tls_ask_in_tls_whoever_has_their_certificate(service: Service, write_pair: WritePair) -> None:
    """Of the name that was asked for; a peer that shows another certificate is sent nothing."""
    shared, strange = write_pair(*HOSTS), write_pair(*HOSTS)
    service.hosts, service.pairs = HOSTS, (shared, shared, strange)

    async def work(pods: list[Pod]) -> None:
        maker, other, stranger = pods
        identifier, label = await maker.predict()
        unknown, _ = await stranger.predict()
        assert await other.label(identifier, label) == "agree"
        assert await other.label(unknown, label) == "unmatched"
        assert stranger.got == []

    service.run(work)


def test_a_certificate_for_another_name_is_not_enough(service: Service, write_pair: WritePair) -> None:
    """A client would find that too, so the label comes in without one."""
    pair = write_pair("127.0.0.1")
    service.pairs = (pair, pair)

    async def work(pods: list[Pod]) -> None:
        request = Request(
            b"POST", b"/feedback", {}, json.dumps({"prediction_id": NOBODYS, "label": "light"}).encode(), 0
        )
        response = await pods[0].application.handle(request)
        assert b"unmatched" in response.body
        assert pods[1].got == []
        assert pods[0].counted("silent") == 1

    service.run(work)


def test_the_addresses_of_a_name_are_its_pods(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of one family, each once and the pod itself not; they are looked up once for labels that come together."""
    service.hosts, service.names, service.loop = HOSTS, ("parcels-peers",), asyncio.new_event_loop
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *rest: Any, **more: Any) -> Sequence[Any]:
        if host != "parcels-peers":
            return real(host, port, *rest, **more)
        asked.append(host)
        places: list[tuple[int, Any]] = [(socket.AF_INET, (one, port)) for one in (*HOSTS, HOSTS[1])]
        places.append((socket.AF_INET6, ("::1", port, 0, 0)))
        return [(family, socket.SOCK_STREAM, 6, "", place) for family, place in places]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    async def work(pods: list[Pod]) -> None:
        labels = [pods[0].label(f"{number}-1", "light") for number in range(4)]
        assert await asyncio.gather(*labels) == ["unmatched"] * 4
        assert [len(pod.got) for pod in pods] == [4, 4, 4]
        assert pods[0].counted("unknown") == 4
        assert len(asked) == 1

    service.run(work)


def test_no_more_peers_are_asked_than_a_bound(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a name server says."""
    monkeypatch.setattr(peers, "FRESH_SECONDS", 0)
    service.names = tuple(f"127.0.1.{number}" for number in range(1, 101))
    connected: list[str] = []

    async def work(pods: list[Pod]) -> None:
        async def hear(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.append(writer.get_extra_info("sockname")[0])
            writer.transport.abort()

        port = free_port()
        everywhere = await asyncio.start_server(hear, "0.0.0.0", port)
        names = [PeerName(one, port) for one in service.names]
        pods[0].application.peers = Peers(names, Address(HOSTS[0], port), None, pods[0].traffic)
        assert await pods[0].label(NOBODYS, "light") == "unmatched"
        everywhere.close()
        assert len(set(connected)) == len(connected) == MOST_PEERS

    service.run(work)


def test_a_name_without_addresses_is_told_once(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """Labels are unmatched meanwhile, as without peers."""
    service.names = ("no-such-service.invalid",)

    async def work(pods: list[Pod]) -> None:
        assert await pods[0].label(NOBODYS, "light") == "unmatched"
        assert await pods[0].label("1-1", "light") == "unmatched"
        assert pods[0].counted("unknown") == 2

    service.run(work)
    assert [record.getMessage() for record in caplog.records if "no-such-service" in record.getMessage()]
    assert sum("--peers no-such-service.invalid" in record.getMessage() for record in caplog.records) == 1


def test_workers_of_several_pods_find_each_others_predictions(bundle: Path, tmp_path: Path) -> None:
    """Whichever worker of the one pod is sent the label, and whichever of the other made the prediction."""
    token, port = tmp_path / "token", free_port()
    token.write_text("sesame\n")
    logs = [tmp_path / f"{host}.jsonl" for host in HOSTS[:2]]
    common = ["--workers", "2", "--token-file", str(token), "--peers", HOSTS[0], "--peers", HOSTS[1]]
    first, second = (
        running_server(
            bundle=bundle, port=port, token="sesame", arguments=[*common, "--host", host, "--feedback-log", str(log)]
        )
        for host, log in zip(HOSTS[:2], logs, strict=True)
    )
    with first as maker, second as other:
        made: dict[str, str] = {}
        while len(made) < 2:
            with maker.client() as client:
                client.infer_binary(ROW)
                made[str(client.prediction_id).partition("-")[0]] = str(client.prediction_id)
        outcomes: list[str] = []
        for identifier in made.values():
            with other.client() as client:
                outcomes += [client.send_feedback(identifier, "nothing like it") for _ in range(2)]
                outcomes.append(client.send_feedback(NOBODYS, "light"))
        with other.client() as client:
            page = client.metrics_text()
    assert outcomes == ["disagree", "repeated", "unmatched"] * 2
    lines = [[json.loads(line)["outcome"] for line in log.read_text("utf-8").splitlines()] for log in logs]
    assert lines == [["disagree", "repeated"] * 2, ["unmatched"] * 2]
    found = [line for line in page.splitlines() if line.startswith("sextant_feedback_passed_on_total")]
    assert [float(line.rpartition(" ")[2]) for line in found if 'outcome="found"' in line] == [4]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("parcels-peers", PeerName("parcels-peers")),
        ("parcels-peers.sextant.svc:8443", PeerName("parcels-peers.sextant.svc", 8443)),
        ("10.0.0.7:80", PeerName("10.0.0.7", 80)),
        ("[fd00::7]:80", PeerName("fd00::7", 80)),
    ],
)
def test_a_peers_name_may_have_a_port(text: str, name: PeerName) -> None:
    assert parse_options(["--bundle", "b", "--peers", text]).peers == (name,)


@pytest.mark.parametrize("text", ["", ":80", "host:0", "host:99999", "host:x", "http://host", "host/path", "a@host"])
def test_what_is_no_name_of_peers_is_a_usage_error(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_options(["--bundle", "b", "--peers", text])
    assert ended.value.code == 2
    assert "--peers: give a host name or address" in capsys.readouterr().err
