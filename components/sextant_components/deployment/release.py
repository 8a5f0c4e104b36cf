"""A run's release: what it registered, with the evidence that allows it, as a rollout takes it over."""

from __future__ import annotations

from pathlib import Path

from sextant_components.deployment.bundle_store import bundle_folder
from sextant_components.deployment.register import VERSION_TASK
from sextant_components.deployment.sign_off import signing_subject
from sextant_components.evaluation.evaluation_records import CHAMPION_TASK
from sextant_components.runs.context import RunContext, Step
from sextant_components.runs.subject import subject_digest
from sextant_plan.bundle import BundleSpec, read_bundle
from sextant_plan.drills import last_drills, wanted_drills
from sextant_plan.errors import UsageError
from sextant_plan.ledger import Record, attempts, finished, read_attempt, read_run
from sextant_plan.sign_off import read_signatures
from sextant_serving.rollout.release import Release


def release_of(context: RunContext, *, bundle: Path, spec: BundleSpec, version: str) -> Release:
    """Return the release of a registered version; `bundle` is the stored copy that `spec` describes."""
    signed = context.plan.sign_off is not None
    sequence, replaces = judged_against(read_run(context.run).get(Step.EVALUATE, []))
    return Release(
        name=spec.name,
        version=version,
        bundle_version=spec.version,
        digest=spec.digest,
        bundle=str(bundle),
        feature_repo=str(context.feature_repo) if spec.feature_service is not None else None,
        run_id=context.run_id,
        plan=context.plan.canonical(),
        plan_hash=context.plan_hash,
        decision=_decision_lines(context.run),
        sequence=sequence,
        replaces=replaces,
        subject=signing_subject(context) if signed else None,
        signatures=read_signatures(context.run) if signed else [],
        drills=_wanted_drills(context),
    )


def registered_release(context: RunContext) -> Release:
    """Return the release of what a run registered. Raises UsageError if it has registered nothing."""
    evidence = read_run(context.run)
    records = evidence.get(Step.REGISTER, [])
    found = [record.value for record in records if record.task == VERSION_TASK and isinstance(record.value, dict)]
    digest = subject_digest(evidence.get(Step.DECIDE, []))
    if not found or not finished(records) or digest is None:
        raise UsageError(f"{context.run}: this run registered no version, so there is nothing to roll out.")
    bundle = bundle_folder(context.home, context.plan.name, digest)
    return release_of(context, bundle=bundle, spec=read_bundle(bundle), version=str(found[-1]["version"]))


def judged_against(records: list[Record]) -> tuple[int, str | None]:
    """Return sequence and version of the champion at the time of an evaluation, 0 and None if there was none."""
    found = [record.value for record in records if record.task == CHAMPION_TASK]
    if not found or not isinstance(found[-1], dict):
        return 0, None
    return int(found[-1]["sequence"]), str(found[-1]["version"])


def _wanted_drills(context: RunContext) -> list[list[str]]:
    """Return the ledgers of the last drills that the plan asks for."""
    wanted = wanted_drills(context.plan)
    last = last_drills(context.home, context.plan.name) if wanted else {}
    return [list(last[name].lines) for name in wanted if name in last]


def _decision_lines(run: Path) -> list[str]:
    """Return the lines of the decision's last finished attempt, none if there is none."""
    lines: list[str] = []
    for path in attempts(run):
        if path.stem.rpartition("-")[0] == Step.DECIDE and finished(read_attempt(path)):
            lines = path.read_text(encoding="utf-8").splitlines()
    return lines
