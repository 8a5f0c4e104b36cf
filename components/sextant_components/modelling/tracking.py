"""The run in MLflow: one parent for the pipeline, one child for each attempt of a step."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sextant_components.runs.context import RunContext, Step, code_version
from sextant_components.runs.outcome import read_outcome
from sextant_components.runs.subject import subject_digest
from sextant_plan.errors import ExitCode
from sextant_plan.ledger import finished, read_run

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

RUN_ID_TAG = "sextant.run_id"
ROLE_TAG = "sextant.role"
STEP_TAG = "sextant.step"
DIGEST_TAG, DATA_TAG, DECISION_TAG = "sextant.bundle_digest", "sextant.data_hash", "sextant.decision"
LIMIT_METRICS = 1000  # of one log_batch call, by MLflow's API


@dataclass(frozen=True)
class StepRun:
    """The MLflow run of one step."""

    client: MlflowClient
    run_id: str

    def params(self, values: Mapping[str, Any]) -> None:
        """Write parameters; each can be written once."""
        from mlflow.entities import Param

        params = [Param(key, str(value)) for key, value in values.items()]
        self.client.log_batch(self.run_id, params=params)

    def metrics(self, series: Mapping[str, list[float]]) -> None:
        """Write each metric's values as steps 0, 1, ...; one call for all, since each costs 5 ms or more."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, step) for key, values in series.items() for step, value in enumerate(values)]
        for start in range(0, len(metrics), LIMIT_METRICS):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + LIMIT_METRICS])


@contextmanager
def step_run(context: RunContext, step: Step) -> Iterator[StepRun]:
    """Open a child run for an attempt of a step; it ends FINISHED, or FAILED if the block raises."""
    run = _start_child(context, *parent_run(context), step)
    try:
        yield run
    except BaseException:
        run.client.set_terminated(run.run_id, "FAILED")
        raise
    run.client.set_terminated(run.run_id, "FINISHED")


def parent_run(context: RunContext) -> tuple[MlflowClient, str]:
    """Return MLflow and the id of the pipeline's run there, created if it is not; found by its tag."""
    from sextant_serving.mlflow_store import connect

    store = connect(context.home.resolve())
    experiment = store.experiment(context.plan.name)
    found = store.client.search_runs(
        [experiment],
        f"tags.`{RUN_ID_TAG}` = '{context.run_id}' and tags.`{ROLE_TAG}` = 'pipeline'",
        order_by=["attributes.start_time ASC"],
    )
    if found:
        return store.client, str(found[0].info.run_id)
    tags = {**_tags(context), ROLE_TAG: "pipeline"}
    return store.client, str(store.client.create_run(experiment, run_name=context.run_id, tags=tags).info.run_id)


def publish_run(context: RunContext) -> str:
    """Copy a run's evidence to MLflow and close its parent run; return that run's id.

    Each step of the ledger gets a child with its records' numbers as metrics and its artifacts. The parent gets the
    decision as tags: its record, its verdict and those of the criteria, the digests of bundle, data and plan. It
    ends FINISHED if the run's exit code is 0 so far, else FAILED. Running it again adds nothing twice.
    """
    client, parent = parent_run(context)
    for step, records in read_run(context.run).items():
        child = _published_child(context, client, parent, Step(step), records[0].attempt) if records else None
        if child is None:
            continue
        numbers = {
            metric_key(record.criterion or record.task): [float(record.value)]
            for record in records
            if isinstance(record.value, int | float) and not isinstance(record.value, bool)
        }
        child.metrics(numbers)
        for record in records:
            for name, digest in record.artifacts.items():
                _log_artifact(client, child.run_id, name, context.artifacts.read_bytes(digest))
        client.set_tag(child.run_id, "sextant.verdict", str(records[-1].verdict))
        client.set_terminated(child.run_id, "FINISHED")
    for key, text in _decision_tags(context).items():
        client.set_tag(parent, key, text)
    for name in ("dossier.html", "conclusion.json", "plan.yaml", "run.log"):
        if (context.run / name).exists():
            client.log_artifact(parent, str(context.run / name))
    if (context.run / "ledger").exists():
        client.log_artifacts(parent, str(context.run / "ledger"), "ledger")
    client.set_terminated(parent, "FINISHED" if read_outcome(context.run).exit_code is ExitCode.OK else "FAILED")
    return parent


def _decision_tags(context: RunContext) -> dict[str, str]:
    """Return what was decided, on which digests, and the verdict of each criterion; nothing before a decision."""
    evidence = read_run(context.run)
    decided = evidence.get(Step.DECIDE, [])
    digest = subject_digest(decided)
    if not finished(decided) or digest is None:
        return {}
    tags = {"sextant.verdict": str(decided[-1].verdict), DECISION_TAG: decided[-1].id, DIGEST_TAG: digest}
    sealed = [record for record in evidence.get(Step.OPTIMISE, []) if "bundle.json" in record.artifacts]
    if sealed:
        described = json.loads(context.artifacts.read_bytes(sealed[-1].artifacts["bundle.json"]))
        tags[DATA_TAG] = str(described["data_hash"])
    verdicts = {f"sextant.criterion.{each.criterion}": str(each.verdict) for each in decided if each.criterion}
    return tags | verdicts


def metric_key(text: str) -> str:
    """Return a text as an MLflow metric name."""
    return re.sub(r"[^\w./-]+", "_", text).strip("_")


def _start_child(context: RunContext, client: MlflowClient, parent: str, step: Step) -> StepRun:
    tags = {**_tags(context), ROLE_TAG: "step", STEP_TAG: step.value, "mlflow.parentRunId": parent}
    experiment = client.get_run(parent).info.experiment_id
    return StepRun(client, str(client.create_run(experiment, run_name=step.value, tags=tags).info.run_id))


def _published_child(
    context: RunContext, client: MlflowClient, parent: str, step: Step, attempt: int
) -> StepRun | None:
    """Return the step's latest child to write evidence to, or None if this attempt's evidence is there."""
    found = client.search_runs(
        [client.get_run(parent).info.experiment_id],
        f"tags.`{RUN_ID_TAG}` = '{context.run_id}' and tags.`{STEP_TAG}` = '{step.value}'",
        order_by=["attributes.start_time DESC"],
    )
    if any(run.data.tags.get("sextant.attempt") == str(attempt) for run in found):
        return None
    child = StepRun(client, str(found[0].info.run_id)) if found else _start_child(context, client, parent, step)
    client.set_tag(child.run_id, "sextant.attempt", str(attempt))
    return child


def _tags(context: RunContext) -> dict[str, str]:
    return {
        RUN_ID_TAG: context.run_id,
        "sextant.plan_hash": context.plan_hash,
        "sextant.code": code_version(),
        "sextant.ledger": str(context.run),
    }


def _log_artifact(client: MlflowClient, run_id: str, name: str, data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(name).name
        path.write_bytes(data)
        client.log_artifact(run_id, str(path), "evidence")
