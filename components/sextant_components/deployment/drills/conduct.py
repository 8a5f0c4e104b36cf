"""Holds a drill and writes down what it proved."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sextant_components.deployment.drills import (
    bad_model,
    dead_pod,
    dead_server,
    feature_outage,
    restored,
    shifted_inputs,
    slow_model,
)
from sextant_components.deployment.drills.detectors import Detector, detector_of
from sextant_components.deployment.drills.result import Result
from sextant_components.deployment.drills.stage import Stage, open_stage
from sextant_components.runs.context import origin_of
from sextant_plan.drills import FOLDER, STEP, TASK, Outcome, modes_of
from sextant_plan.errors import UsageError
from sextant_plan.ledger import LedgerWriter
from sextant_plan.loading import plan_hash
from sextant_plan.schema import Plan
from sextant_plan.types import DrillName

Rehearse = Callable[[Stage, Detector], Result]

LOCAL: dict[DrillName, Rehearse] = {
    DrillName.SLOW_MODEL: slow_model.rehearse,
    DrillName.BAD_MODEL: bad_model.rehearse,
    DrillName.DRIFT: shifted_inputs.rehearse,
    DrillName.FEATURE_STORE_DOWN: feature_outage.rehearse,
    DrillName.DEAD_POD: dead_server.rehearse,
    DrillName.RESTORE_REGISTRY: restored.rehearse_registry,
    DrillName.RESTORE_FEATURES: restored.rehearse_features,
    DrillName.RESTORE_OBJECTS: restored.rehearse_objects,
}


def hold_local(
    plan: Plan, home: Path, drill: DrillName, *, database: str | None = None, store: str | None = None
) -> Outcome:
    """Hold a drill on this machine, write its ledger below the home, and return its outcome.

    `database` is the address of the registry's PostgreSQL and `store` that of the runs' object store, where those are
    what is to be restored.
    Raises UsageError if it cannot be staged here, NothingActive, and what the servers raise.
    """
    detector = detector_of(plan, drill, modes_of(plan, drill))
    with tempfile.TemporaryDirectory(prefix="sextant-drill-") as scratch:
        result = LOCAL[drill](open_stage(plan, home, Path(scratch), database=database, store=store), detector)
    return record(plan, home, drill, result, profile="local", detected_by=detector.name)


def hold_on_cluster(plan: Plan, home: Path, drill: DrillName, site: dead_pod.Site) -> Outcome:
    """Hold a drill on the service of the plan on a cluster, and return its outcome, which is written below the home.

    The rows that clients send are those of the home. Raises UsageError if the drill has no form on a cluster or cannot
    be staged, and InfrastructureError if the API server or Prometheus does not answer.
    """
    if drill is not DrillName.DEAD_POD:
        raise UsageError(f"{drill}: held where the home is, on servers of its own. Leave --namespace out.")
    detector = detector_of(plan, drill, modes_of(plan, drill))
    with tempfile.TemporaryDirectory(prefix="sextant-drill-") as scratch:
        result = dead_pod.rehearse(open_stage(plan, home, Path(scratch)), detector, site)
    return record(plan, home, drill, result, profile="cluster", detected_by=detector.name)


def record(plan: Plan, home: Path, drill: DrillName, result: Result, *, profile: str, detected_by: str) -> Outcome:
    """Judge what a drill measured by the plan and write its ledger."""
    modes = modes_of(plan, drill)
    outcome = Outcome(
        drill=drill,
        plan=plan.name,
        profile=profile,
        modes=[mode.mode for mode in modes],
        fault=result.fault,
        detected_by=result.detected_by or detected_by,
        detected_after=result.detected_after,
        recovery=result.recovery,
        recovered_after=result.recovered_after,
        recover_within=min((mode.recover_within for mode in modes), default=None),
        requests=result.requests,
        failed=result.failed,
        facts=result.facts,
    )
    run_id = f"{drill}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid() % 10000:04d}"
    origin = origin_of(run_id, plan_hash(plan))
    with LedgerWriter(home / FOLDER / run_id, STEP, "monitoring", origin) as ledger:
        ledger.record(
            TASK,
            requirement="the failure is noticed, and over within the time that the plan allows",
            risk="the first outage is the first time that anybody tries the way out of it",
            qa_method=f"the failure is caused for real: {result.fault}",
            value=outcome.model_dump(mode="json"),
            verdict=outcome.verdict,
        )
    return outcome
