"""Roll out: admit the version on this run's evidence, prove that it serves, promote it, make it live."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sextant_components.deployment.bundle_store import store_bundle, stored_path
from sextant_components.deployment.release import release_of
from sextant_components.deployment.sign_off import record_sign_off, require_sign_off
from sextant_components.deployment.way_back import record_way_back
from sextant_components.evaluation.expert_review import record_reviews, require_reviews
from sextant_components.runs.context import RunContext, Step
from sextant_plan.bundle import GOLDEN_FILE, BundleSpec, read_bundle
from sextant_plan.files import locked
from sextant_plan.ledger import LedgerWriter
from sextant_plan.promotion import ACTIVE_FILE, NotAdmitted, Promotion, PromotionLost, active_model, write_active
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    from sextant_serving.registry import Registry
    from sextant_serving.rollout.release import Release

IMMEDIATE = "immediate"


def run_roll_out(context: RunContext, *, bundle: Path, version: str) -> Verdict:
    """Make the version live, or stage it where one is in service that it can be compared with.

    A staged version is `unknown` until it has met traffic. Killed and run again, it completes the promotion that it
    began. Raises NotAdmitted if the run's decision is not a pass for this bundle,
    PromotionLost if another version became live since the evaluation, and BundleCorrupt.
    """
    from sextant_serving.registry import open_registry

    strategy = context.plan.rollout.strategy
    spec, registry = read_bundle(bundle), open_registry(context.home)
    stored = stored_path(context.home, spec)
    release = release_of(context, bundle=stored, spec=spec, version=version)
    _require_admission(context, release, registry)
    with context.ledger(Step.ROLL_OUT) as ledger:
        store_bundle(context.home, bundle, spec)
        record_reviews(ledger, context)
        record_sign_off(ledger, context)
        promotion = _propose(release, registry)
        _prove_serving(ledger, release, spec)
        if earlier := registry.history(promotion.name)[: release.sequence]:
            record_way_back(ledger, earlier[-1])
        if strategy != IMMEDIATE and promotion.replaces is not None:
            _stage(ledger, context, release)
        else:
            registry.promote(promotion)
            make_live(context.home, registry, promotion.name)
            _record_promotion(ledger, promotion)
        return ledger.verdict


def make_live(home: Path, registry: Registry, name: str) -> None:
    """Write active.json from the model's promotions, so that a slower process cannot undo a later one."""
    with locked(home / f"{ACTIVE_FILE}.lock"):
        write_active(home, active_model(registry.history(name)))


def _require_admission(context: RunContext, release: Release, registry: Registry) -> None:
    """Raise NotAdmitted if anything stands against the release."""
    from sextant_serving.rollout.admission import objections

    for refusal in objections(release, registry.digest_of):
        raise NotAdmitted(refusal.reason, refusal.remedy, verdict=refusal.verdict)
    require_reviews(context)
    require_sign_off(context)


def _propose(release: Release, registry: Registry) -> Promotion:
    """Return the promotion to write: in the place after the champion that this run was judged against.

    Raises PromotionLost if another promotion took that place already.
    """
    promotion = release.promotion()
    history = registry.history(promotion.name)
    if len(history) > release.sequence and history[release.sequence] != promotion:
        raise PromotionLost(promotion.name, judged_against=release.replaces, champion=history[-1].version)
    return promotion


def _stage(ledger: LedgerWriter, context: RunContext, release: Release) -> None:
    """Leave the release where `sextant rollout start` finds it; without traffic nothing is proved."""
    from sextant_serving.rollout.files import rollout_folder

    rollout_folder(context.home, release.name).stage(release)
    ledger.record(
        "canary staged",
        requirement="the version takes all traffic on proof from real requests",
        risk="a version that passed every gate does harm on real traffic",
        qa_method="a canary beside the version in service: sextant rollout start",
        verdict=Verdict.UNKNOWN,
        value={"version": release.version, "digest": release.digest, "beside": release.replaces},
    )


def _prove_serving(ledger: LedgerWriter, release: Release, spec: BundleSpec) -> None:
    """Start a real server on the stored bundle; it replays the golden requests before it is ready."""
    import numpy as np

    from sextant_serving.launch import running_server

    bundle = Path(release.bundle)
    repo = Path(release.feature_repo) if release.feature_repo else None
    with np.load(bundle / GOLDEN_FILE, allow_pickle=False) as golden:
        inputs = {tensor.name: golden[tensor.name][:1] for tensor in spec.inputs}
        expected = golden[spec.answer][:1]
    with running_server(bundle=bundle, feature_repo=repo) as server, server.client() as client:
        found = client.infer_binary(inputs)[spec.answer]
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
