"""The `ingest` pipeline: a new snapshot of data that grows, verified, and no training; by hand or by a schedule.

KFP 2.17 reads annotations as objects, so this file does without `from __future__ import annotations`.
"""

from kfp import dsl

from sextant_pipelines import steps
from sextant_pipelines.stages import PASS, uncached


@dsl.pipeline(  # type: ignore[untyped-decorator]
    name="ingestion", description="A snapshot of the source, and its rows against the plan's rules."
)
def ingestion(run_uri: str, run_id: str) -> None:
    """Take a snapshot and, if labels and licence pass, verify it."""
    ingested = uncached(steps.ingest(run_uri=run_uri, run_id=run_id))
    with dsl.If(ingested.outputs["Output"] == PASS, name="ingested"):
        uncached(steps.verify(run_uri=run_uri, snapshot=ingested.outputs["snapshot"]))


@dsl.pipeline(  # type: ignore[untyped-decorator]
    name="ingest", description="A new version of the data, taken and verified, without a training."
)
def ingest(run_uri: str, run_id: str) -> None:
    """Ingest and verify, conclude, and close the run whatever happened."""
    with dsl.ExitHandler(uncached(steps.close(run_uri=run_uri)), name="always-close"):
        done = ingestion(run_uri=run_uri, run_id=run_id)
        uncached(steps.conclude(run_uri=run_uri).after(done))
