"""Two real servers behind the weighted front, real requests and labels, and the registry that says what is live."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sextant_plan.bundle import read_bundle
from sextant_plan.canonical import digest_of
from sextant_plan.ledger import LedgerWriter, Origin, read_run
from sextant_plan.promotion import ActiveModel
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict
from sextant_serving.client import Client, Refused
from sextant_serving.registry import Registry, open_registry
from sextant_serving.rollout.files import RolloutFolder, rollout_folder
from sextant_serving.rollout.journal import RegistryJournal
from sextant_serving.rollout.local import Pair, run_rollout, running_pair
from sextant_serving.rollout.release import Release
from sextant_serving.rollout.state import Phase, RolloutState

CLASSES = ["heavy", "light", "medium"]
# Limits that a few dozen requests decide, and that a busy machine does not reach: half of all requests over 250 ms.
CRITERIA = [
    {"id": "errors", "metric": "error_rate", "at_most": 0.3, "min_n": 15, "enforce": ["canary"]},
    {"id": "slow", "metric": "latency_p50_ms", "at_most": 250, "min_n": 15, "enforce": ["canary"]},
    {"id": "right", "metric": "accuracy", "at_least": 0.5, "min_n": 15, "enforce": ["canary"]},
]
SERVING = {"latency_edges_ms": [250.0], "deadline": 20.0}
POLICY = {"strategy": "canary", "steps": [20, 50, 100], "interval": "500ms", "min_looks": 1, "deadline": "4m"}


@dataclass
class Bench:
    """A home with its registry, the version in service, and what it takes to release another bundle."""

    home: Path
    registry: Registry
    stable: ActiveModel
    plan: Plan
    runs: int = 0

    def release(self, bundle: Path, verdict: Verdict = Verdict.PASS) -> Release:
        """Register a bundle and decide on it as a run would."""
        self.runs += 1
        spec, plan_hash = read_bundle(bundle), digest_of(self.plan.canonical())
        version = self.registry.register(spec.name, digest=spec.digest, source=bundle.as_uri(), tags={})
        run = self.home / "runs" / str(self.runs)
        with LedgerWriter(run, "decide", "evaluation", Origin(run.name, plan_hash, "tests", "tests")) as ledger:
            ledger.record(
                "bundle decided on", requirement="-", risk="-", qa_method="-", verdict=verdict,
                value={"digest": spec.digest},
            )  # fmt: skip
        champion = self.registry.champion(spec.name)
        return Release(
            name=spec.name,
            version=version,
            bundle_version=spec.version,
            digest=spec.digest,
            bundle=str(bundle),
            feature_repo=None,
            run_id=run.name,
            plan=self.plan.canonical(),
            plan_hash=plan_hash,
            decision=(run / "ledger" / "decide-1.jsonl").read_text().splitlines(),
            sequence=champion.sequence if champion else 0,
            replaces=champion.version if champion else None,
        )

    def journal(self, release: Release) -> RegistryJournal:
        """The journal that writes to this home."""
        run = self.home / "runs" / release.run_id
        origin = Origin(release.run_id, release.plan_hash, "tests", "tests")
        return RegistryJournal(
            release, self.registry, lambda: LedgerWriter(run, "roll_out", "deployment", origin), lambda *_: None
        )


@dataclass
class Load:
    """Clients that ask and tell the truth afterwards, until the block ends."""

    url: str
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def ask(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        with Client(self.url, "parcels") as client:
            while not self.stop.is_set():
                image = np.full((1, 8, 8, 1), generator.integers(0, 256), np.uint8)
                features = generator.normal(size=(1, 2)).astype(np.float32)
                try:
                    found = client.infer_binary({"image": image, "features": features})
                except Refused as error:
                    self.failed.append(str(error.status))
                    continue
                self.answered += 1
                # Both versions give these probabilities; what a class is called is where one of them errs.
                client.send_feedback(client.prediction_id or "", CLASSES[int(found["probabilities"][0].argmax())])


@contextmanager
def load(url: str, clients: int = 4) -> Iterator[Load]:
    work = Load(url)
    threads = [threading.Thread(target=work.ask, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield work
    finally:
        work.stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Path]) -> Bench:
    """A home in which nothing was promoted yet; the stable version's bundle is the plain one."""
    home = tmp_path_factory.mktemp("home")
    bundle = make_bundle(serving=SERVING)
    spec = read_bundle(bundle)
    stable = ActiveModel(name="parcels", version="0", digest=spec.digest, bundle=str(bundle), sequence="seq-0000")
    return Bench(home, open_registry(home), stable, _plan())


def _plan() -> Plan:
    return Plan.model_validate(
        {
            "name": "parcels",
            "owner": {"team": "tests", "approvers": ["ada"]},
            "goal": {"business": "sort parcels", "why_ml": "no rule is known"},
            "criteria": CRITERIA,
            "data": {
                "source": ".",
                "images": "images",
                "licence": {"name": "CC0-1.0", "source": "none", "allows_training": True},
                "consent": {"basis": "none"},
            },
            "model": {
                "task": "image-classification",
                "inputs": {"image": {"height": 8, "width": 8, "channels": 1}},
                "candidates": [{"architecture": "mlp"}],
            },
            "rollout": POLICY,
        }
    )


@dataclass
class Ended:
    """A rollout that came to its end, and the load that it had."""

    state: RolloutState
    load: Load
    pair: Pair
    folder: RolloutFolder


def roll_out(bench: Bench, release: Release) -> Ended:
    folder = rollout_folder(bench.home, release.name)
    folder.stage(release)
    with running_pair(bench.stable, release) as pair, load(pair.url) as clients:
        state = run_rollout(release, pair, folder, bench.registry, bench.journal(release), stop=threading.Event())
    return Ended(state, clients, pair, folder)


@pytest.mark.parametrize(
    ("fault", "criterion"),
    [
        pytest.param({"serving": SERVING, "slow": 800}, "slow", id="slow", marks=pytest.mark.servers),
        pytest.param({"serving": {**SERVING, "deadline": 0.0001}}, "errors", id="erroring", marks=pytest.mark.servers),
        pytest.param({"serving": SERVING, "classes": ["light", "medium", "heavy"]}, "right", id="less accurate"),
    ],
)
def test_a_bad_canary_is_rolled_back_on_real_counters(
    bench: Bench, make_bundle: Callable[..., Path], fault: dict[str, Any], criterion: str
) -> None:
    """The criterion that it breaks says so, and nothing is promoted; only its own requests were hurt."""
    release = bench.release(make_bundle(**fault))
    before = bench.registry.champion("parcels")
    ended = roll_out(bench, release)
    assert (ended.state.phase, ended.state.verdict) == (Phase.ROLLED_BACK, Verdict.FAIL)
    assert ended.state.reason.startswith(f"{criterion}: proved worse")
    assert bench.registry.champion("parcels") == before
    assert set(ended.load.failed) <= {"429", "504"}  # it sees that it cannot keep its deadline
    records = read_run(bench.home / "runs" / release.run_id)["roll_out"]
    verdicts = {record.criterion: record.verdict for record in records}
    assert verdicts[criterion] is Verdict.FAIL


def test_a_good_canary_is_promoted_without_a_failed_request(bench: Bench, make_bundle: Callable[..., Path]) -> None:
    """Real evidence through every weight; the promotion is in the registry, and the front kept answering."""
    release = bench.release(make_bundle(serving={**SERVING, "max_rows": 7}))
    ended = roll_out(bench, release)
    assert (ended.state.phase, ended.state.verdict) == (Phase.PROMOTED, Verdict.PASS)
    champion = bench.registry.champion("parcels")
    assert champion is not None
    assert (champion.version, champion.digest) == (release.version, release.digest)
    assert ended.load.failed == []
    assert ended.pair.alone == "canary"
    version = bench.registry.store.client.get_model_version("parcels", release.version)
    assert version.tags["sextant.rollout"].startswith("promoted")
    assert json.loads((ended.folder.path / "state.json").read_text())["phase"] == "promoted"


def test_a_release_that_was_not_passed_gets_no_request(bench: Bench, make_bundle: Callable[..., Path]) -> None:
    """The canary's server is there, and the front sends nobody to it."""
    release = bench.release(make_bundle(serving={**SERVING, "max_rows": 6}), Verdict.FAIL)
    ended = roll_out(bench, release)
    assert (ended.state.phase, ended.state.verdict) == (Phase.REFUSED, Verdict.FAIL)
    assert ended.state.reason.startswith("the decision is fail")
    assert ended.state.weight == 0
