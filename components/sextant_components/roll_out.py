"""Roll out: admit the version on this run's evidence, prove that it serves, promote it, make it live."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_components.bundle_store import store_bundle
from sextant_components.context import RunContext, Step
from sextant_components.decide import subject_digest
from sextant_components.evaluation_records import CHAMPION_TASK
from sextant_plan.bundle import GOLDEN_FILE, BundleSpec, read_bundle
from sextant_plan.errors import UsageError
from sextant_plan.files import locked
from sextant_plan.ledger import END_TASK, LedgerWriter, Record, finished, read_run
from sextant_plan.promotion import ACTIVE_FILE, NotAdmitted, Promotion, PromotionLost, active_model, write_active
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    from sextant_serving.registry import Registry

LOCAL_STRATEGY = "immediate"


class StrategyNeedsCluster(UsageError):
    """A rollout strategy that splits traffic between servers, asked of one machine."""

    def __init__(self, strategy: str) -> None:
        super().__init__(
            f"rollout.strategy: {strategy} splits traffic between servers, and this profile has one server. "
            f"Set strategy: {LOCAL_STRATEGY} here, or submit the plan to a cluster."
        )


@dataclass(frozen=True)
class Release:
    """What is to go live: the bundle as stored, its version, and the decision that allows it."""

    context: RunContext
    spec: BundleSpec
    version: str
    bundle: Path
    feature_repo: Path | None
    decision: Record


def run_roll_out(context: RunContext, *, bundle: Path, version: str) -> Verdict:
    """Make the version live; killed and run again, it completes the promotion that it began.

    Raises StrategyNeedsCluster, NotAdmitted if the run's decision is not a pass for this bundle, PromotionLost
    if another version became live since the evaluation, and BundleCorrupt.
    """
    from sextant_serving.registry import open_registry

    if context.plan.rollout.strategy != LOCAL_STRATEGY:
        raise StrategyNeedsCluster(context.plan.rollout.strategy)
    spec, registry = read_bundle(bundle), open_registry(context.home)
    evidence = read_run(context.run)
    decision = _admit(evidence, spec, registry, version)
    with context.ledger(Step.ROLL_OUT) as ledger:
        stored = store_bundle(context.home, bundle, spec)
        release = Release(context, spec, version, stored, _feature_repo(context, spec), decision)
        promotion = _propose(release, _judged_against(evidence.get(Step.EVALUATE, [])), registry)
        _prove_serving(ledger, release)
        registry.promote(promotion)
        with locked(context.home / f"{ACTIVE_FILE}.lock"):
            # Written from the ledger, not from this run: a slower process must not undo a later promotion.
            write_active(context.home, active_model(registry.history(spec.name)))
        _record_promotion(ledger, promotion)
        return ledger.verdict


def _admit(evidence: dict[str, list[Record]], spec: BundleSpec, registry: Registry, version: str) -> Record:
    """Return the closing record of the decision that allows this rollout. Raises NotAdmitted."""
    records = evidence.get(Step.DECIDE, [])
    if not finished(records):
        raise NotAdmitted("this run has no finished decision", "Run the decide step first", verdict=Verdict.UNKNOWN)
    if (decided := records[-1].verdict) is not Verdict.PASS:
        raise NotAdmitted(f"the decision is {decided}", "Read the dossier for the criteria that block", verdict=decided)
    if subject_digest(records) != spec.digest:
        raise NotAdmitted(
            "the decision is about another bundle", "Evaluate and decide on this bundle first", verdict=Verdict.UNKNOWN
        )
    if registry.digest_of(spec.name, version) != spec.digest:
        raise NotAdmitted(
            f"version {version} is not bound to this bundle",
            "Run the register step for this bundle first",
            verdict=Verdict.UNKNOWN,
        )
    assert records[-1].task == END_TASK
    return records[-1]


def _propose(release: Release, judged: tuple[int, str] | None, registry: Registry) -> Promotion:
    """Return the promotion to write: in the place after the champion that this run was judged against.

    Raises PromotionLost if another promotion took that place already.
    """
    sequence, replaces = judged if judged is not None else (0, None)
    promotion = Promotion(
        sequence=sequence + 1,
        name=release.spec.name,
        version=release.version,
        digest=release.spec.digest,
        replaces=replaces,
        bundle=str(release.bundle),
        feature_repo=str(release.feature_repo) if release.feature_repo else None,
        run_id=release.context.run_id,
        plan_hash=release.context.plan_hash,
        decision=release.decision.id,
        decided=release.decision.time,
    )
    history = registry.history(promotion.name)
    if len(history) > sequence and history[sequence] != promotion:
        raise PromotionLost(promotion.name, judged_against=replaces, champion=history[-1].version)
    return promotion


def _judged_against(records: list[Record]) -> tuple[int, str] | None:
    """Return sequence and version of the champion at the time of the evaluation, None if there was none."""
    found = [record.value for record in records if record.task == CHAMPION_TASK]
    if not found or not isinstance(found[-1], dict):
        return None
    return int(found[-1]["sequence"]), str(found[-1]["version"])


def _feature_repo(context: RunContext, spec: BundleSpec) -> Path | None:
    """Return the Feast repository that the server reads; only a bundle with stored features has one."""
    return context.feature_repo if spec.feature_service is not None else None


def _prove_serving(ledger: LedgerWriter, release: Release) -> None:
    """Start a real server on the stored bundle; it replays the golden requests before it is ready."""
    import numpy as np

    from sextant_serving.launch import running_server

    spec = release.spec
    with np.load(release.bundle / GOLDEN_FILE, allow_pickle=False) as golden:
        inputs = {tensor.name: golden[tensor.name][:1] for tensor in spec.inputs}
        expected = golden["probabilities"][:1]
    with running_server(bundle=release.bundle, feature_repo=release.feature_repo) as server, server.client() as client:
        found = client.infer_binary(inputs)["probabilities"]
    off = float(np.abs(found - expected).max())
    ledger.record(
        "serving proof",
        requirement="a server on the stored bundle is ready and answers as expected",
        risk="a version is made live that cannot serve",
        qa_method="a real server: digests, golden requests, readiness, one request over the network",
        verdict=Verdict.PASS if off <= spec.golden_tolerance else Verdict.FAIL,
        value=f"within {spec.golden_tolerance:g}" if off <= spec.golden_tolerance else f"off by {off:.3g}",
    )
    if off > spec.golden_tolerance:
        raise NotAdmitted("the server's answer is not the network's", "Run optimise again", verdict=Verdict.FAIL)


def _record_promotion(ledger: LedgerWriter, promotion: Promotion) -> None:
    ledger.record(
        "promotion",
        requirement="exactly one version is live, and it is known why",
        risk="two rollouts overwrite each other, or a version goes live without a decision",
        qa_method="a write-once record in the registry; the alias and active.json are written from it",
        verdict=Verdict.PASS,
        value=promotion.model_dump(mode="json"),
    )
