"""Features from a real Feast online store, and what happens when it has none or is away."""

from __future__ import annotations

import asyncio
import io
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sextant_components.evaluation.server_probe import Request, probe_server
from sextant_plan.bundle import CodeRef, Column, OnDemandSpec, RequestColumn, read_bundle
from sextant_plan.entrypoints import EntrypointError
from sextant_serving.application import Application
from sextant_serving.batching import Traffic
from sextant_serving.call import Call
from sextant_serving.decoders import Decoders
from sextant_serving.errors import FeatureFailure, FeatureOutage, MissingFeatures
from sextant_serving.features import FeatureLookup, StoredRow
from sextant_serving.feedback import FeedbackBook
from sextant_serving.launch import running_server
from sextant_serving.loading import Source, load
from sextant_serving.lookups import Lookups
from sextant_serving.metrics_page import MetricsPage
from sextant_serving.model import Model
from sextant_serving.on_demand import Transform
from sextant_serving.rows import Answer, Rows
from sextant_serving.variants import Variants

pytestmark = pytest.mark.filterwarnings("ignore")  # Feast and its imports warn of their own future

MakeBundle = Callable[..., Path]
COLUMNS = [
    Column(name="weight", default=2.0),
    Column(name="stock", view="shelves", default=-1.0),
    Column(name="aisle", view="shelves", vocabulary=["a", "b"]),
]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Feast repository with P-1 fresh, P-2 past its ttl, and P-3 with nulls."""
    import pandas as pd

    from sextant_serving.feast_import import import_feast

    import_feast()
    from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource
    from feast.types import Float64, String
    from feast.value_type import ValueType

    repo = tmp_path_factory.mktemp("feast")
    (repo / "feature_store.yaml").write_text(
        "project: test\nprovider: local\nregistry: registry.db\n"
        "online_store: {type: sqlite, path: online.db}\nentity_key_serialization_version: 3\n"
    )
    now = datetime.now(UTC)
    rows = pd.DataFrame(
        {
            "parcel_id": ["P-1", "P-2", "P-3"],
            "stock": [0.5, 0.6, None],
            "aisle": ["b", "a", None],
            "at": [now, now - timedelta(days=3), now],
        }
    )
    rows.to_parquet(repo / "shelves.parquet")
    entity = Entity(name="parcel_id", join_keys=["parcel_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="shelves",
        entities=[entity],
        ttl=timedelta(days=2),
        schema=[Field(name="stock", dtype=Float64), Field(name="aisle", dtype=String)],
        source=FileSource(path="shelves.parquet", timestamp_field="at"),
    )
    store = FeatureStore(repo_path=str(repo))
    store.apply([entity, view, FeatureService(name="parcels", features=[view])])
    store.write_to_online_store("shelves", rows)
    with (repo / "feature_store.yaml").open("a", encoding="utf-8") as settings:
        # The serving image has no library of an offline store, and an online lookup needs none.
        settings.write("offline_store: {type: not_in_the_image.AbsentOfflineStore}\n")
    return repo


@pytest.fixture
def device() -> Iterator[ThreadPoolExecutor]:
    """The single thread on which everything blocking runs."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def bundle_with(make_bundle: MakeBundle, policy: str) -> Path:
    """Return a bundle whose features come from the store under a policy for missing ones."""
    return make_bundle(
        columns=COLUMNS, entity="parcel_id", feature_service="parcels", serving={"missing_features": policy}
    )


def ask(
    bundle: Path, repository: Path, device: ThreadPoolExecutor, *requests: list[str]
) -> tuple[list[Answer | BaseException], Model]:
    """Send requests of keys at once to a model of `bundle`; each gets its answer or its error."""

    async def run() -> tuple[list[Answer | BaseException], Model]:
        loaded = load(Source(bundle, repository), threads=1, lookup_thread=device)
        traffic = Traffic()
        for keys in requests:
            traffic.begin(id(keys))
        model = Model(loaded, traffic, device=device, lookup_thread=device)
        futures = [
            model.batcher.submit(
                Rows(
                    len(keys),
                    image=np.zeros((len(keys), 8, 8, 1), np.uint8),
                    sent=np.ones((len(keys), 1), np.float32),
                    keys=keys,
                )
            )
            for keys in requests
        ]
        return await asyncio.gather(*futures, return_exceptions=True), model

    return asyncio.run(run())


def softmax_of(features: list[float]) -> np.ndarray:
    """Return what the test network makes of a black picture and these features."""
    logits = np.array(features) @ np.linspace(-1, 1, 9, dtype=np.float32).reshape(3, 3)
    return np.asarray(np.exp(logits) / np.exp(logits).sum())


def test_features_of_many_requests_come_in_one_lookup(
    make_bundle: MakeBundle, repository: Path, device: ThreadPoolExecutor
) -> None:
    """Fresh values are used, nulls take the default, and absent or stale rows follow the plan."""
    bundle = bundle_with(make_bundle, "default")
    answers, model = ask(bundle, repository, device, ["P-1", "P-3"], ["P-2"], ["P-9"])
    first, second, third = (answer for answer in answers if isinstance(answer, Answer))
    np.testing.assert_allclose(first.outputs[0], softmax_of([1, 0.5, 1]), atol=1e-5)
    np.testing.assert_allclose(first.outputs[1], softmax_of([1, -1, 2]), atol=1e-5)
    np.testing.assert_allclose(second.outputs[0], softmax_of([1, -1, 2]), atol=1e-5)
    assert first.fallbacks == [None, None]
    assert second.fallbacks == third.fallbacks == ["feature-miss"]
    assert not third.abstained.any()
    assert model.metrics.fallbacks["feature-miss"] == 2
    assert sum(model.metrics.feature_seconds.counts) == 1
    assert model.metrics.feature_rows == {
        ("shelves", "found"): 2,
        ("shelves", "stale"): 1,
        ("shelves", "absent"): 1,
    }


def test_a_miss_can_make_the_model_abstain(
    make_bundle: MakeBundle, repository: Path, device: ThreadPoolExecutor
) -> None:
    """Under `abstain` the row without features has no label, and the others keep theirs."""
    (answer,), _ = ask(bundle_with(make_bundle, "abstain"), repository, device, ["P-1", "P-9"])
    assert isinstance(answer, Answer)
    assert answer.abstained.tolist() == [False, True]


def test_a_miss_can_be_refused_without_harm_to_others(
    make_bundle: MakeBundle, repository: Path, device: ThreadPoolExecutor
) -> None:
    """Under `reject` only the request with the missing row fails, and its error names the row."""
    (refused, answered), model = ask(bundle_with(make_bundle, "reject"), repository, device, ["P-1", "P-9"], ["P-1"])
    assert isinstance(refused, MissingFeatures)
    assert "row 1" in str(refused)
    assert isinstance(answered, Answer)
    assert model.metrics.fallbacks["feature-miss"] == 1


@pytest.mark.parametrize(
    ("keys", "unserved", "unharmed"),
    [pytest.param(["P-9", "P-1"], 3, True, id="some"), pytest.param(["P-9"], 6, None, id="all")],
)
def test_an_evaluation_tells_rows_that_the_plan_rejects_from_those_that_are_refused(
    make_bundle: MakeBundle, repository: Path, keys: list[str], unserved: int, unharmed: bool | None
) -> None:
    """They have no time and are no failure, as in service; the request that is sent after the wrong ones is another."""
    bundle, picture = bundle_with(make_bundle, "reject"), io.BytesIO()
    Image.new("L", (8, 8)).save(picture, "PNG")
    asked = [Request(picture.getvalue(), {"weight": 1, "parcel_id": key}) for key in keys]
    probe = probe_server(bundle, read_bundle(bundle), asked, count=6, feature_repo=repository)
    assert (probe.unserved, len(probe.milliseconds)) == (unserved, 6 - unserved)
    assert (probe.refused, probe.failed, probe.unharmed) == ([], 0, unharmed)
    assert all(refusal.proper for refusal in probe.refusals)


def test_the_server_looks_features_up_and_survives_the_stores_outage(make_bundle: MakeBundle, repository: Path) -> None:
    """Through the whole server: a key brings its features; without the store the plan's fallback answers."""
    bundle = bundle_with(make_bundle, "default")
    pixels = np.zeros((8, 8, 1), np.uint8).tolist()
    row = {"image": pixels, "weight": 1, "parcel_id": "P-1"}
    with running_server(bundle=bundle, feature_repo=repository) as server, server.client() as client:
        found = client.predict_v1([row])[0]
        assert found["fallback"] is None
        np.testing.assert_allclose(list(found["probabilities"].values()), softmax_of([1, 0.5, 1]), atol=1e-5)
        status, _, _ = client.request(
            "POST", "/v1/models/parcels:predict", b'{"instances": [{"image": [[[0]]], "weight": 1}]}'
        )
        assert status == 400
        with sqlite3.connect(repository / "online.db") as database:
            database.execute("ALTER TABLE test_shelves RENAME TO away")
        away = client.predict_v1([row])[0]
        assert (away["fallback"], away["abstained"]) == ("feature-outage", False)
        with sqlite3.connect(repository / "online.db") as database:
            database.execute("ALTER TABLE away RENAME TO test_shelves")
        assert client.predict_v1([row])[0]["fallback"] is None


def test_an_outage_can_be_refused(make_bundle: MakeBundle, repository: Path, device: ThreadPoolExecutor) -> None:
    """Under `reject` an outage is 503, which a client may retry."""
    with sqlite3.connect(repository / "online.db") as database:
        database.execute("ALTER TABLE test_shelves RENAME TO away")
    (refused,), model = ask(bundle_with(make_bundle, "reject"), repository, device, ["P-1"])
    with sqlite3.connect(repository / "online.db") as database:
        database.execute("ALTER TABLE away RENAME TO test_shelves")
    assert isinstance(refused, FeatureOutage)
    assert refused.status == 503
    assert model.metrics.fallbacks["feature-outage"] == 1


def test_computed_features_read_their_own_request(
    make_bundle: MakeBundle, repository: Path, device: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of requests that one batch holds, each gets its own column; a row without stored features shifts no other."""
    bundle = bundle_with(make_bundle, "default")
    code = CodeRef(entrypoint="user_code:weigh", digest="sha256:0")
    column = RequestColumn(name="load", number=True)
    spec = OnDemandSpec(view="loads", code=code, inputs=["shelves__stock"], request=[column], columns=["stock"])
    weigh = Transform(
        spec, lambda given: {"stock": [sum(pair) for pair in zip(given["stock"], given["load"], strict=True)]}
    )

    async def run() -> list[Answer]:
        loaded = load(Source(bundle, repository), threads=1, lookup_thread=device)
        serving = loaded.spec.serving.model_copy(update={"on_demand": [spec]})
        assert loaded.lookup is not None
        monkeypatch.setattr(loaded.lookup, "_transforms", [weigh])
        loaded = replace(loaded, spec=loaded.spec.model_copy(update={"serving": serving}))
        traffic = Traffic()
        model = Model(loaded, traffic, device=device, lookup_thread=device)
        asked = [(["P-9", "P-1"], [7.0, 1.0]), (["P-1"], [2.0])]
        for keys, _ in asked:
            traffic.begin(id(keys))
        rows = [
            Rows(
                len(keys),
                image=np.zeros((len(keys), 8, 8, 1), np.uint8),
                sent=np.ones((len(keys), 1), np.float32),
                keys=keys,
                requested={"load": values},
            )
            for keys, values in asked
        ]
        return list(await asyncio.gather(*(model.batcher.submit(each) for each in rows)))

    first, second = asyncio.run(run())
    assert first.stored == [None, {"stock": 1.5, "aisle": "b"}]
    assert second.stored == [{"stock": 2.5, "aisle": "b"}]


def divide(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the stock by the load, and raise where there is no load."""
    return {"share": [stock / load for stock, load in zip(inputs["stock"], inputs["load"], strict=True)]}


def divide_or_tell(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the same; where there is no load, what no network can read."""
    pairs = zip(inputs["stock"], inputs["load"], strict=True)
    return {"share": [stock / load if load else "SECRET" for stock, load in pairs]}


@pytest.mark.parametrize("function", [divide, divide_or_tell])
@pytest.mark.parametrize("policy", ["default", "reject"])
def test_only_the_request_fails_whose_value_an_on_demand_function_cannot_take(
    make_bundle: MakeBundle,
    repository: Path,
    device: ThreadPoolExecutor,
    caplog: pytest.LogCaptureFixture,
    *,
    function: Callable[..., Any],
    policy: str,
) -> None:
    """Those beside it in the lookup get their features; the log names the function, not the store and no value."""
    columns = [*COLUMNS, Column(name="share", view="loads", default=0.0)]
    bundle = make_bundle(columns=columns, entity="parcel_id", serving={"missing_features": policy})
    code = CodeRef(entrypoint="user_code:share", digest="sha256:0")
    request = [RequestColumn(name="load", number=True)]
    computed = OnDemandSpec(view="loads", code=code, inputs=["shelves__stock"], request=request, columns=["share"])

    async def run() -> tuple[list[Answer | BaseException], Model]:
        loaded = load(Source(bundle), threads=1, lookup_thread=device)
        serving = loaded.spec.serving.model_copy(update={"on_demand": [computed]})
        spec = loaded.spec.model_copy(update={"serving": serving, "feature_service": "parcels"})
        lookup = device.submit(FeatureLookup, repository, spec, [Transform(computed, function)]).result()
        traffic = Traffic()
        model = Model(replace(loaded, spec=spec, lookup=lookup), traffic, device=device, lookup_thread=device)
        asked = []
        for value in (1.0, 2.0, 0.0, 4.0, 5.0):
            traffic.begin(value)
            image, sent = np.zeros((1, 8, 8, 1), np.uint8), np.ones((1, 1), np.float32)
            asked.append(Rows(1, image=image, sent=sent, keys=["P-1"], requested={"load": [value]}))
        futures = [model.batcher.submit(rows) for rows in asked]
        return await asyncio.gather(*futures, return_exceptions=True), model

    answers, model = asyncio.run(run())
    culprit = answers.pop(2)
    assert [answer.fallbacks for answer in answers if isinstance(answer, Answer)] == [[None]] * 4
    assert [answer.stored[0]["share"] for answer in answers] == [0.5, 0.25, 0.125, 0.1]  # type: ignore[union-attr, index]
    if policy == "reject":
        assert isinstance(culprit, FeatureFailure)
        assert culprit.status == 422
    else:
        assert isinstance(culprit, Answer)
        assert (culprit.fallbacks, culprit.stored) == (["feature-failure"], [None])
    assert model.metrics.fallbacks["feature-failure"] == 1
    assert model.metrics.fallbacks["feature-outage"] == 0
    assert model.metrics.feature_rows["shelves", "found"] == 4
    assert "user_code:share" in caplog.text
    assert "SECRET" not in caplog.text
    assert "store" not in caplog.text


class ParticularStore(FeatureLookup):
    """A store that cannot tell one key for what it is, or is away; it counts how often it is asked."""

    def __init__(self, error: Exception) -> None:
        self.asked, self._error = 0, error
        self.newest = {}
        self.rows: dict[tuple[str, str], int] = {}

    def lookup(self, keys: Sequence[str], request: Mapping[str, Sequence[Any]] | None = None) -> list[StoredRow | None]:
        """Give every key the same row unless one of them is odd."""
        self.asked += 1
        if "odd" in keys:
            raise self._error
        return [{"stock": 0.5, "aisle": "b"} for _ in keys]


@pytest.mark.parametrize(
    ("error", "asked", "without"),
    [
        pytest.param(ValueError(), 7, {3}, id="a-value"),
        pytest.param(ConnectionError(), 1, set(range(8)), id="away"),
    ],
)
def test_a_store_that_is_away_is_asked_once_and_one_that_dislikes_a_value_again(
    make_bundle: MakeBundle, device: ThreadPoolExecutor, error: Exception, asked: int, without: set[int]
) -> None:
    """One odd key of eight costs six more lookups, and no other request its features."""
    bundle = make_bundle(columns=COLUMNS, entity="parcel_id")
    store = ParticularStore(error)

    async def run() -> list[Answer]:
        loaded = replace(load(Source(bundle), threads=1, lookup_thread=device), lookup=store)
        traffic = Traffic()
        model = Model(loaded, traffic, device=device, lookup_thread=device)
        rows = [
            Rows(1, image=np.zeros((1, 8, 8, 1), np.uint8), sent=np.ones((1, 1), np.float32), keys=[key])
            for key in ["P-1", "P-1", "P-1", "odd", "P-1", "P-1", "P-1", "P-1"]
        ]
        for each in rows:
            traffic.begin(id(each))
        return list(await asyncio.gather(*(model.batcher.submit(each) for each in rows)))

    answers = asyncio.run(run())
    assert {place for place, answer in enumerate(answers) if answer.fallbacks == ["feature-outage"]} == without
    assert store.asked == asked


class FailingStore(FeatureLookup):
    """A store that fails on everything and takes a quarter of a second for it, by a clock of its own."""

    def __init__(self, error: Exception) -> None:
        self.asked, self._error = 0, error

    def clock(self) -> float:
        """Return the seconds that lookups have taken."""
        return self.asked / 4

    def lookup(self, keys: Sequence[str], request: Mapping[str, Sequence[Any]] | None = None) -> list[StoredRow | None]:
        """Fail."""
        self.asked += 1
        raise self._error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(EntrypointError("user_code:share", "it failed", "Mend it"), "feature-failure", id="function"),
        pytest.param(KeyError("SECRET"), "feature-outage", id="store"),
    ],
)
def test_a_lookup_that_fails_for_everybody_is_split_no_longer_than_the_stores_patience(
    make_bundle: MakeBundle, device: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture, error: Exception, reason: str
) -> None:
    """Of a hundred questions each has its reason after a second in place of fifty; the log tells it once."""
    metrics = load(Source(make_bundle()), threads=1, lookup_thread=device).metrics
    store = FailingStore(error)

    async def run() -> list[list[str | None]]:
        lookups = Lookups(store, device, metrics, requested=(), patience=1.0, clock=store.clock)
        return [
            found.reasons for found in await asyncio.gather(*(lookups.ask(Rows(1, keys=["P"])) for _ in range(100)))
        ]

    assert asyncio.run(run()) == [[reason]] * 100
    assert store.asked == 4
    assert len(caplog.records) == 1
    assert "SECRET" not in caplog.text


class HangingStore(FeatureLookup):
    """A store that does not answer until it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.newest = {}
        self.rows: dict[tuple[str, str], int] = {}
        self.was_asked, self.answers = threading.Event(), threading.Event()

    def lookup(self, keys: Sequence[str], request: Mapping[str, Sequence[Any]] | None = None) -> list[StoredRow | None]:
        """Wait, then give every key the same row."""
        self.asked += 1
        self.was_asked.set()
        self.answers.wait()
        return [{"stock": 0.5, "aisle": "b"} for _ in keys]


def test_a_store_that_hangs_is_away_until_it_comes_back(make_bundle: MakeBundle, device: ThreadPoolExecutor) -> None:
    """The first batch gives up within the deadline, the next ones do not wait, and the store is used again later."""
    bundle = make_bundle(columns=COLUMNS, entity="parcel_id", serving={"deadline": 1.0})
    store = HangingStore()

    async def run() -> list[str | None]:
        with ThreadPoolExecutor(1) as lookup_thread:
            loaded = replace(load(Source(bundle), threads=1, lookup_thread=lookup_thread), lookup=store)
            model = Model(loaded, Traffic(), device=device, lookup_thread=lookup_thread)
            rows = Rows(1, image=np.zeros((1, 8, 8, 1), np.uint8), sent=np.ones((1, 1), np.float32), keys=["P-1"])
            reasons = []
            for _ in range(20):
                reasons += (await model.batcher.submit(rows)).fallbacks
            assert store.asked == 1
            store.answers.set()
            while (answer := await model.batcher.submit(rows)).fallbacks != [None]:
                assert answer.fallbacks == ["feature-outage"]
            return reasons

    assert asyncio.run(run()) == ["feature-outage"] * 20


def test_features_are_looked_up_while_the_picture_is_decoded(
    make_bundle: MakeBundle, device: ThreadPoolExecutor
) -> None:
    """The store is asked though nothing can be decoded yet, and its answer is the one that is used."""
    large = io.BytesIO()
    Image.new("L", (300, 200)).save(large, "PNG")
    bundle = make_bundle(columns=COLUMNS, entity="parcel_id")
    store, decoding = HangingStore(), threading.Event()

    async def run() -> Answer:
        with ThreadPoolExecutor(1) as decoders, ThreadPoolExecutor(1) as lookup_thread:
            decoders.submit(decoding.wait)
            loaded = replace(load(Source(bundle), threads=1, lookup_thread=lookup_thread), lookup=store)
            model = Model(loaded, Traffic(), device=device, lookup_thread=lookup_thread)
            application = Application(MetricsPage(), FeedbackBook(10, None), decoders, Decoders(decoders, threads=1))
            rows = Rows(1, pictures=[large.getvalue()], sent=np.ones((1, 1), np.float32), keys=["P-1"])
            call = Call(Variants(model), {}, lambda _: rows, 0)
            answering = asyncio.create_task(application.predict(call, rows, asyncio.get_running_loop().time()))
            await asyncio.to_thread(store.was_asked.wait)
            assert rows.image is None
            store.answers.set()
            decoding.set()
            answer, _, _ = await answering
            return answer

    answer = asyncio.run(run())
    assert answer.stored == [{"stock": 0.5, "aisle": "b"}]
    assert store.asked == 1
