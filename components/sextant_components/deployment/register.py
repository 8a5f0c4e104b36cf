"""Register: a version in the registry for the bundle, bound to what it was made from; the same bundle only once."""

from __future__ import annotations

from pathlib import Path

from sextant_components.deployment.bundle_store import store_bundle
from sextant_components.runs.context import RunContext, Step, code_version
from sextant_plan.bundle import read_bundle
from sextant_plan.verdicts import Verdict

VERSION_TASK = "model version"
BUNDLE_FOLDER = "bundle"


def run_register(context: RunContext, *, bundle: Path) -> str:
    """Copy the bundle to the home, register it and return its version, which gets the alias `candidate`.

    A tracking server's version names a copy among the run's artifacts, because it takes no path of another machine.
    Killed at any point and run again, it completes what is there: the copy appears whole or not at all, and the
    version is found by the bundle's digest.
    """
    from sextant_serving.registry import CANDIDATE, open_registry

    spec = read_bundle(bundle)
    with context.ledger(Step.REGISTER) as ledger:
        stored = store_bundle(context.home, bundle, spec)
        registry = open_registry(context.home)
        source, run = (stored.as_uri(), None) if registry.store.is_local else _sent(context, stored)
        version = registry.register(
            spec.name,
            digest=spec.digest,
            source=source,
            run_id=run,
            tags={
                "sextant.plan_hash": context.plan_hash,
                "sextant.data_hash": spec.data_hash,
                "sextant.code": code_version(),
                "sextant.run_id": context.run_id,
                "sextant.bundle_version": spec.version,
            },
        )
        ledger.record(
            VERSION_TASK,
            requirement="the version is bound to bundle, plan, data and code",
            risk="nobody can tell what a version was made from, or one bundle has two versions",
            qa_method="write-once binding of the bundle's digest to the version; the stored copy's digests verified",
            verdict=Verdict.PASS,
            value={"name": spec.name, "version": version, "digest": spec.digest, "alias": CANDIDATE},
        )
    return version


def _sent(context: RunContext, stored: Path) -> tuple[str, str]:
    """Send a bundle to the artifacts of the pipeline's run in MLflow; return its address there, and that run's id."""
    from sextant_components.modelling.tracking import parent_run

    client, run = parent_run(context)
    client.log_artifacts(run, str(stored), BUNDLE_FOLDER)
    return f"{client.get_run(run).info.artifact_uri}/{BUNDLE_FOLDER}", run
