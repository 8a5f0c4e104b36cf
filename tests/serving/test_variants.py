"""Champion and challengers in one process: who answers, who is counted, and that a shadow is never waited for."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
import pytest

from sextant_plan.bundle import Column, read_bundle
from sextant_plan.challengers import Challenger
from sextant_plan.errors import SextantError
from sextant_plan.promotion import ActiveModel, write_active
from sextant_serving.application import Application
from sextant_serving.batching import Traffic
from sextant_serving.client import Client
from sextant_serving.decoders import Decoders
from sextant_serving.engines import Inputs, Outputs
from sextant_serving.feedback import FeedbackBook
from sextant_serving.fleet import Fleet
from sextant_serving.grpc_protocol import SERVICE, message
from sextant_serving.http_types import Request, Response
from sextant_serving.launch import running_server
from sextant_serving.lineup import Lineup
from sextant_serving.loading import Loaded, Source, load
from sextant_serving.metrics_page import MetricsPage
from sextant_serving.mirror import HELD_BYTES, Copied, Mirror, Unread
from sextant_serving.model import Model
from sextant_serving.options import parse_options
from sextant_serving.rows import Rows
from sextant_serving.variants import Variants

T = TypeVar("T")
MakeBundle = Callable[..., Path]
BODY = json.dumps({"instances": [{"image": [[[9]] * 8] * 8, "weight": 1.0, "zone": "north"}]}).encode()


OTHER = [Column(name="weight", default=2.0)]  # columns that the usual bundle's rows do not fit


def weightless() -> Rows:
    """Return a row for a bundle of OTHER columns."""
    return Rows(1, features=np.zeros((1, 1), np.float32), image=np.zeros((1, 8, 8, 1), np.uint8))


class BlockedEngine:
    """An engine that does not answer before the event is set."""

    def __init__(self, go_on: threading.Event) -> None:
        self._go_on = go_on

    def run(self, inputs: Inputs) -> Outputs:
        """Wait, then answer the first class."""
        self._go_on.wait()
        return np.tile(np.array([1, 0, 0], np.float32), (len(inputs["features"]), 1))


def setting(variant: str, role: str, percent: float) -> Challenger:
    """Return a challenger of no particular bundle."""
    return Challenger.model_validate(
        {"variant": variant, "version": "9", "digest": "", "bundle": "", "role": role, "percent": percent}
    )


def ask(application: Application, body: bytes = BODY, /, **headers: str) -> Awaitable[Response]:
    """Send one v1 request; header names are written with underscores."""
    named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return application.handle(
        Request(b"POST", b"/v1/models/parcels:predict", named, body, asyncio.get_running_loop().time())
    )


def variant_of(response: Response) -> str:
    """Return the variant that a response names."""
    return dict(response.headers)[b"x-sextant-variant"].decode()


class Bench:
    """An application without sockets, whose variants the test puts together."""

    def __init__(self, champion: Path) -> None:
        self.pool = ThreadPoolExecutor(8)
        self.application = Application(
            MetricsPage(), FeedbackBook(1000, None), self.pool, Decoders(self.pool, threads=8)
        )
        self.champion = self.model(champion, "stable")

    def model(self, bundle: Path, variant: str, engine: Any = None, **serving: Any) -> Model:
        """Load a bundle as a variant with a device thread of its own; `engine` takes the network's place."""
        source = Source(bundle, name="parcels", version=variant, variant=variant)
        loaded: Loaded = load(source, threads=1, lookup_thread=self.pool)
        if engine is not None:
            loaded = dataclasses.replace(loaded, engine=engine)
        return Model(loaded, None, device=ThreadPoolExecutor(1), lookup_thread=self.pool)

    def serve(self, *challengers: tuple[Challenger, Model]) -> None:
        """Put the champion and these challengers in service."""
        mirrors = [
            Mirror(model, one.percent, self.application.record_copy)
            for one, model in challengers
            if one.role == "shadow"
        ]
        self.application.variants = Variants(self.champion, challengers, "spring", mirrors)


async def on_device_thread(model: Model, work: Callable[[], T]) -> T:
    """Return what `work` gives on the thread that computes the model's batches."""
    return await asyncio.get_running_loop().run_in_executor(model.device_thread, work)


def niceness_here() -> int:
    """Return the nice value of the calling thread."""
    return os.getpriority(os.PRIO_PROCESS, 0)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the condition holds; the test's time limit ends it otherwise."""
    while not condition():
        await asyncio.sleep(0.001)


def test_a_blocked_shadow_holds_nobody_up_and_its_overflow_is_counted(bundle: Path, make_bundle: MakeBundle) -> None:
    """The champion answers every request while the shadow answers none; copies beyond its queue are dropped."""
    small = make_bundle(serving={"queue_rows": 5, "max_rows": 1})

    async def run() -> None:
        go_on = threading.Event()
        bench = Bench(bundle)
        shadow = bench.model(small, "shade", BlockedEngine(go_on))
        bench.serve((setting("shade", "shadow", 100), shadow))
        try:
            answers = [await ask(bench.application) for _ in range(20)]
        finally:
            go_on.set()
        assert {answer.status for answer in answers} == {200}
        assert {variant_of(answer) for answer in answers} == {"stable"}
        assert bench.champion.metrics.requests["200"] == 20
        assert shadow.metrics.mirror_dropped >= 20 - 5 - 1
        await until(lambda: shadow.metrics.requests["200"] + shadow.metrics.mirror_dropped == 20)
        assert bench.champion.metrics.mirror_dropped == 0

    asyncio.run(run())


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")
@pytest.mark.skipif(os.getpriority(os.PRIO_PROCESS, 0) > 5, reason="no room below this process's own priority")
def test_only_a_shadow_whose_batches_are_long_has_a_low_priority(make_bundle: MakeBundle, bundle: Path) -> None:
    """One that answers in microseconds keeps the priority of all, and so does the long one once it answers clients."""
    champion = Source(bundle, name="parcels")
    slow = Source(make_bundle(slow=12, version="4"), name="parcels", variant="b")
    quick = Source(make_bundle(version="5"), name="parcels", variant="b")

    async def run() -> None:
        fleet = Fleet(Traffic(), engine_threads=1, log=None, record=lambda *_: None)

        async def niceness(role: str, source: Source) -> list[int]:
            models = (await fleet.muster(Lineup(champion, [(setting("b", role, 5), source)]))).models
            return [await on_device_thread(model, niceness_here) for model in models]

        usual = niceness_here()
        assert await niceness("shadow", slow) == [usual, 19]
        assert await niceness("ab", slow) == [usual, usual]
        assert await niceness("shadow", slow) == [usual, 19]
        assert await niceness("shadow", quick) == [usual, usual]
        fleet.stop()

    asyncio.run(run())


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")
def test_a_long_shadow_reads_requests_with_the_usual_priority(make_bundle: MakeBundle, bundle: Path) -> None:
    """Reading holds the interpreter's lock, which a thread that is not let on a core would keep from everybody."""
    slow = make_bundle(slow=12, columns=OTHER)
    read: list[int] = []

    def read_for(_: Model) -> Rows:
        read.append(niceness_here())
        return weightless()

    async def run() -> None:
        fleet = Fleet(Traffic(), engine_threads=1, log=None, record=lambda *_: None)
        challengers = [(setting("b", "shadow", 100), Source(slow, name="parcels", variant="b"))]
        variants = await fleet.muster(Lineup(Source(bundle, name="parcels"), challengers))
        shadow = variants.models[1]
        variants.mirrors[0].offer(Copied(["1"], Rows(1), variants.champion, Unread(read_for, 0)))
        await until(lambda: shadow.metrics.requests["200"] == 1)
        assert await on_device_thread(shadow, niceness_here) == 19
        fleet.stop()

    asyncio.run(run())
    assert read == [niceness_here()]


@pytest.mark.parametrize("columns", [None, OTHER], ids=["alike", "otherwise"])
def test_a_copy_lets_go_of_the_request_once_it_has_its_rows(
    make_bundle: MakeBundle, bundle: Path, columns: list[Column] | None
) -> None:
    """While it waits for the shadow's device nothing holds the body, which no longer counts as under way."""
    other = bundle if columns is None else make_bundle(columns=columns)
    body = BODY.replace(b', "zone": "north"', b"") + b" "

    async def run() -> None:
        go_on = threading.Event()
        bench = Bench(bundle)
        shadow = bench.model(other, "s", BlockedEngine(go_on))
        bench.serve((setting("s", "shadow", 100), shadow))
        before = sys.getrefcount(body)
        try:
            assert (await ask(bench.application, body)).status == 200
            await until(lambda: sum(shadow.metrics.queue_seconds.counts) == 1)
            assert sys.getrefcount(body) == before
        finally:
            go_on.set()
        await until(lambda: shadow.metrics.requests["200"] == 1)

    asyncio.run(run())


def test_the_bytes_that_wait_to_be_read_for_a_shadow_are_bounded(make_bundle: MakeBundle, bundle: Path) -> None:
    """Copies beyond are dropped and counted; what has been read makes room, and a large one is taken alone."""
    other = make_bundle(columns=OTHER)

    async def run() -> None:
        go_on = threading.Event()
        bench = Bench(bundle)
        shadow = bench.model(other, "s")
        mirror = Mirror(shadow, 100, lambda *_: None)

        def read_for(_: Model) -> Rows:
            go_on.wait()
            return weightless()

        def offer(size: int) -> None:
            mirror.offer(Copied(["1"], Rows(1), bench.champion, Unread(read_for, size)))

        try:
            for size in (HELD_BYTES // 2, HELD_BYTES // 2, 1):
                offer(size)
            assert shadow.metrics.mirror_dropped == 1
        finally:
            go_on.set()
        await until(lambda: shadow.metrics.requests["200"] == 2)
        offer(HELD_BYTES + 1)
        assert shadow.metrics.mirror_dropped == 1
        await until(lambda: shadow.metrics.requests["200"] == 3)

    asyncio.run(run())


def test_a_shadows_lookup_waits_for_one_copy_to_be_read_at_most(make_bundle: MakeBundle, bundle: Path) -> None:
    """However many wait to be read on the thread that they share, a store is not taken for one that is away."""
    other = make_bundle(columns=OTHER)
    order: list[str] = []

    async def run() -> None:
        go_on = threading.Event()
        bench = Bench(bundle)
        shadow = bench.model(other, "s")
        mirror = Mirror(shadow, 100, lambda *_: None)

        def read_for(_: Model) -> Rows:
            order.append("read")
            go_on.wait()
            return weightless()

        with ThreadPoolExecutor(1) as shadow.lookup_thread:
            try:
                for _ in range(2):
                    mirror.offer(Copied(["1"], Rows(1), bench.champion, Unread(read_for, 1)))
                await until(lambda: order == ["read"])
                shadow.lookup_thread.submit(order.append, "lookup")
            finally:
                go_on.set()
            await until(lambda: shadow.metrics.requests["200"] == 2)

    asyncio.run(run())
    assert order == ["read", "lookup", "read"]


def test_a_copy_is_not_read_once_its_deadline_has_passed(make_bundle: MakeBundle, bundle: Path) -> None:
    """One that has waited too long for its shadow's thread is a 504, and takes none of that thread's time."""
    other = make_bundle(columns=OTHER, serving={"deadline": 0.05})
    read: list[Model] = []

    def read_for(model: Model) -> Rows:
        read.append(model)
        return weightless()

    async def run() -> None:
        go_on = threading.Event()
        bench = Bench(bundle)
        shadow = bench.model(other, "s")
        for _ in range(8):  # every thread of the bench's pool
            shadow.lookup_thread.submit(go_on.wait)
        try:
            Mirror(shadow, 100, lambda *_: None).offer(Copied(["1"], Rows(1), bench.champion, Unread(read_for, 1)))
            await asyncio.sleep(0)  # from here its deadline counts
            late = time.monotonic() + 0.05
            await until(lambda: time.monotonic() > late)
        finally:
            go_on.set()
        await until(lambda: shadow.metrics.requests["504"] == 1)

    asyncio.run(run())
    assert read == []


def test_a_failing_shadow_is_counted_and_not_seen(bundle: Path) -> None:
    """An engine that raises costs the shadow a 500 and the client nothing."""

    class Broken:
        def run(self, inputs: Inputs) -> Outputs:
            raise RuntimeError

    async def run() -> None:
        bench = Bench(bundle)
        shadow = bench.model(bundle, "shade", Broken())
        bench.serve((setting("shade", "shadow", 100), shadow))
        assert (await ask(bench.application)).status == 200
        await until(lambda: shadow.metrics.requests["500"] == 1)
        assert bench.champion.metrics.requests["500"] == 0

    asyncio.run(run())


@pytest.mark.parametrize("is_late", [False, True])
def test_a_label_judges_the_shadow_by_the_same_request(bundle: Path, is_late: bool) -> None:
    """One label counts for the champion that answered, and for the shadow's copy, even one that is answered later."""

    async def run() -> None:
        go_on = threading.Event()
        bench = Bench(bundle)
        shadow = bench.model(bundle, "shade", BlockedEngine(go_on))
        bench.serve((setting("shade", "shadow", 100), shadow))
        try:
            answers = []
            for unit in ("ada", "ada", "bo"):
                answers += json.loads((await ask(bench.application, x_sextant_unit=unit)).body)["predictions"]
            if not is_late:
                go_on.set()
                await until(lambda: shadow.metrics.requests["200"] == 3)
            for answer in answers:
                body = json.dumps({"prediction_id": answer["prediction_id"], "label": answer["label"]}).encode()
                await bench.application.handle(Request(b"POST", b"/feedback", {}, body, 0.0))
        finally:
            go_on.set()
        await until(lambda: shadow.metrics.requests["200"] == 3)
        expected = "agree" if answers[0]["label"] == "heavy" else "disagree"
        for metrics, outcome in ((bench.champion.metrics, "agree"), (shadow.metrics, expected)):
            assert (metrics.feedback[outcome], metrics.units[outcome]) == (3, 2)

    asyncio.run(run())


@pytest.mark.parametrize("role", ["ab", "shadow"])
def test_a_unit_counts_once_by_its_first_label(role: str, bundle: Path, make_bundle: MakeBundle) -> None:
    """For the variant that answered it, and for a shadow that had a copy; who chose a variant by header is no unit."""

    async def run() -> None:
        bench = Bench(bundle)
        other = bench.model(make_bundle(version="4"), "b")
        bench.serve((setting("b", role, 100), other))
        units = ({"x_sextant_unit": "ada"}, {"x_sextant_unit": "ada"}, {"x_sextant_unit": "bo"})
        for headers in (*units, {"x_sextant_variant": "b", "x_sextant_unit": "cy"}, {}):
            copied = other.metrics.requests["200"]
            answer = json.loads((await ask(bench.application, **headers)).body)["predictions"][0]
            while other.metrics.requests["200"] == copied:  # a shadow's copy may come after the answer
                await asyncio.sleep(0.001)
            body = json.dumps({"prediction_id": answer["prediction_id"], "label": answer["label"]}).encode()
            await bench.application.handle(Request(b"POST", b"/feedback", {}, body, 0.0))
        assert other.metrics.units["agree"] == 2
        assert bench.champion.metrics.units["agree"] == (2 if role == "shadow" else 0)

    asyncio.run(run())


def test_a_unit_keeps_its_variant_and_each_variant_counts_its_own(bundle: Path, make_bundle: MakeBundle) -> None:
    """The header's unit sticks, both variants are used, and the counters add up by variant."""

    async def run() -> None:
        bench = Bench(bundle)
        challenger = bench.model(make_bundle(version="4"), "b")
        bench.serve((setting("b", "ab", 50), challenger))
        first = [variant_of(await ask(bench.application, x_sextant_unit=f"u{n}")) for n in range(40)]
        again = [variant_of(await ask(bench.application, x_sextant_unit=f"u{n}")) for n in range(40)]
        assert first == again
        assert set(first) == {"stable", "b"}
        assert challenger.metrics.requests["200"] == 2 * first.count("b")
        assert bench.champion.metrics.requests["200"] == 2 * first.count("stable")

    asyncio.run(run())


def test_a_unit_of_any_length_counts_once_and_is_not_kept(bundle: Path) -> None:
    """Units of 30 kB are told apart by their ends, and remembering a hundred of them takes no megabyte."""
    units = [f"{'x' * 30_000}{n % 100}" for n in range(101)]  # the first one asks twice

    async def run() -> None:
        bench = Bench(bundle)
        other = bench.model(bundle, "b")
        bench.serve((setting("b", "ab", 100), other))
        await ask(bench.application, x_sextant_unit="first")
        tracemalloc.start()
        answers = [await ask(bench.application, x_sextant_unit=unit) for unit in units]
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
        tracemalloc.stop()
        for answer in answers:
            made = json.loads(answer.body)["predictions"][0]
            body = json.dumps({"prediction_id": made["prediction_id"], "label": made["label"]}).encode()
            await bench.application.handle(Request(b"POST", b"/feedback", {}, body, 0.0))
        assert (other.metrics.feedback["agree"], other.metrics.units["agree"]) == (101, 100)

    asyncio.run(run())


def test_requests_without_a_unit_are_divided_by_chance(bundle: Path) -> None:
    """The share holds for clients that name no unit."""

    async def run() -> None:
        bench = Bench(bundle)
        bench.serve((setting("b", "ab", 50), bench.model(bundle, "b")))
        seen = {variant_of(await ask(bench.application)) for _ in range(60)}  # all alike: once in 2 ** 59
        assert seen == {"stable", "b"}

    asyncio.run(run())


def test_the_header_names_a_variant(bundle: Path) -> None:
    """A named variant answers whatever its share, a shadow too; an unknown one is a 404 that lists what there is."""

    async def run() -> None:
        bench = Bench(bundle)
        bench.serve(
            (setting("b", "ab", 0), bench.model(bundle, "b")), (setting("s", "shadow", 0), bench.model(bundle, "s"))
        )
        for name in ("stable", "b", "s"):
            assert variant_of(await ask(bench.application, x_sextant_variant=name)) == name
        refused = await ask(bench.application, x_sextant_variant="nobody")
        assert refused.status == 404
        assert b"stable, b, s" in refused.body

    asyncio.run(run())


def test_a_challenger_reads_the_request_in_its_own_way(make_bundle: MakeBundle, bundle: Path) -> None:
    """A retrained vocabulary gives a category another index: the challenger and the shadow use their own."""
    columns = [Column(name="weight", default=2.0), Column(name="zone", vocabulary=["south", "east", "north"])]
    other = make_bundle(columns=columns)

    async def run() -> None:
        bench = Bench(bundle)
        challenger, shadow = bench.model(other, "b"), bench.model(other, "s")
        bench.serve((setting("b", "ab", 0), challenger), (setting("s", "shadow", 100), shadow))
        stable = json.loads((await ask(bench.application)).body)["predictions"][0]
        changed = json.loads((await ask(bench.application, x_sextant_variant="b")).body)["predictions"][0]
        assert changed["probabilities"] != stable["probabilities"]
        await until(lambda: shadow.metrics.requests["200"] == 2)
        zone = next(counter for counter in shadow.metrics.seen.bins() if counter.name == "zone")
        assert zone.rows.sum() == 2

    asyncio.run(run())


def test_a_moved_share_keeps_the_loaded_models_and_their_counters(bundle: Path, make_bundle: MakeBundle) -> None:
    """Only what has changed is loaded; a challenger with the champion's variant is refused."""
    other = make_bundle(version="4")

    async def run() -> None:
        fleet = Fleet(Traffic(), engine_threads=1, log=None, record=lambda *_: None)
        champion = Source(bundle, name="parcels", variant="stable")

        def lineup(percent: float, variant: str = "b") -> Lineup:
            source = Source(other, name="parcels", variant=variant)
            return Lineup(champion, [(setting(variant, "ab", percent), source)])

        before = await fleet.muster(lineup(5))
        after = await fleet.muster(lineup(50))
        assert [*map(id, after.models)] == [*map(id, before.models)]
        assert (await fleet.muster(lineup(50, "c"))).models[0] is before.champion
        with pytest.raises(SextantError, match="the champion's variant"):
            await fleet.muster(lineup(5, "stable"))
        fleet.stop()

    asyncio.run(run())


def test_the_command_line_names_challengers(make_bundle: MakeBundle, bundle: Path) -> None:
    """A real server with a challenger that gets everything and a shadow: the series of all three are on its page."""
    options = ["--challenger", f"b={make_bundle(version='4')}:100", "--shadow", f"dark={make_bundle(version='5')}:100"]
    with running_server(bundle=bundle, arguments=options) as server, server.client() as client:
        status, headers, _ = client.request("POST", "/v1/models/parcels:predict", BODY)
        assert (status, dict(headers)["x-sextant-variant"]) == (200, "b")
        counted = 'sextant_requests_total{{code="200",model="parcels",variant="{}",version="{}"}} 1.0'
        while counted.format("dark", "5") not in (page := client.metrics_text()):
            assert client.ready()
        assert counted.format("b", "4") in page
        assert counted.format("stable", "3").replace("1.0", "0.0") in page


def test_grpc_metadata_name_unit_and_variant(make_bundle: MakeBundle, bundle: Path) -> None:
    """A unit has its variant of HTTP, and both are in use; a named one answers, an unknown one is NOT_FOUND."""
    request = message("ModelInferRequest")(model_name="parcels")
    request.inputs.add(name="image", datatype="UINT8", shape=[1, 8, 8, 1])
    request.raw_input_contents.append(bytes(64))
    sent = request.SerializeToString()
    arguments = ["--challenger", f"b={make_bundle(version='4')}:50"]
    with (
        running_server(bundle=bundle, grpc=True, arguments=arguments) as server,
        server.client() as client,
        grpc.insecure_channel(str(server.grpc)) as channel,
    ):
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer", None, message("ModelInferResponse").FromString)

        def by_grpc(name: str, value: str) -> str:
            return str(infer(sent, metadata=[(f"x-sextant-{name}", value)], timeout=30).model_version)

        def by_http(unit: str) -> str:
            path, headers = "/v1/models/parcels:predict", {"x-sextant-unit": unit}
            return {"stable": "3", "b": "4"}[client.request("POST", path, BODY, headers)[1]["x-sextant-variant"]]

        units = [f"u{number}" for number in range(40)]
        found = [by_grpc("unit", unit) for unit in units]
        assert found == [by_http(unit) for unit in units]
        assert set(found) == {"3", "4"}
        assert [by_grpc("variant", name) for name in ("stable", "b")] == ["3", "4"]
        with pytest.raises(grpc.RpcError, match="stable, b") as refused:
            by_grpc("variant", "nobody")
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--challenger", "b=somewhere"], "write NAME=DIR:PERCENT", id="no-percent"),
        pytest.param(["--challenger", "b=x:60", "--challenger", "c=y:60"], "more than 100 percent", id="too-much"),
        pytest.param(["--challenger", "b=x:6", "--shadow", "b=y:6"], "two challengers of one variant", id="twice"),
        pytest.param(["--challenger", "b=x:600"], "less than or equal to 100", id="over-100"),
    ],
)
def test_challengers_that_cannot_run_together_are_a_usage_error(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says what is wrong, the exit code is 2."""
    with pytest.raises(SystemExit) as end:
        parse_options(["--bundle", "x", *arguments])
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_active_json_names_challengers_and_moves_their_shares(
    make_bundle: MakeBundle, bundle: Path, tmp_path: Path
) -> None:
    """The server follows the share without loading anything again: the challenger's counter goes on."""
    challenger = make_bundle(version="4")

    def activate(percent: float) -> None:
        spec = read_bundle(challenger)
        described = setting("b", "ab", percent).model_copy(
            update={"bundle": str(challenger), "digest": spec.digest, "version": spec.version}
        )
        active = ActiveModel(
            name="parcels",
            version="3",
            digest=read_bundle(bundle).digest,
            bundle=str(bundle),
            sequence="seq-0001",
            challengers=(described,),
            experiment="spring",
        )
        write_active(tmp_path, active)

    def answered_by(client: Client) -> str:
        return dict(client.request("POST", "/v1/models/parcels:predict", BODY)[1])["x-sextant-variant"]

    activate(100)
    with running_server(home=tmp_path) as server, server.client() as client:
        assert answered_by(client) == "b"
        activate(0)
        answers = 1
        while answered_by(client) == "b":
            answers += 1
        counted = f'sextant_requests_total{{code="200",model="parcels",variant="b",version="4"}} {float(answers)}'
        assert counted in client.metrics_text()
