"""The `retrain` pipeline: what an alert starts, from ingest on, under the plan that is in force.

Its parameters besides the run's are the window that called for it. Decision: docs/adr/0015-pipelines-on-a-cluster.md.
KFP 2.17 reads annotations as objects, so this file does without `from __future__ import annotations`.
"""

from kfp import dsl

from sextant_pipelines import steps
from sextant_pipelines.stages import PASS, make_and_release, uncached


@dsl.pipeline(  # type: ignore[untyped-decorator]
    name="retraining", description="The steps of the life cycle from ingest on."
)
def retraining(run_uri: str, run_id: str, window: str) -> None:
    """Ingest anew and, while the verdict so far is `pass`, make, judge and release another model."""
    ingested = uncached(steps.ingest(run_uri=run_uri, run_id=run_id, window=window))
    with dsl.If(ingested.outputs["Output"] == PASS, name="ingested"):
        make_and_release(run_uri, ingested)


@dsl.pipeline(  # type: ignore[untyped-decorator]
    name="retrain",
    description="Another model under the plan in force, compared with the champion, since a window failed.",
)
def retrain(run_uri: str, run_id: str, window: str) -> None:
    """Retrain, conclude, and close the run whatever happened; `window` is an ISO 8601 interval."""
    with dsl.ExitHandler(uncached(steps.close(run_uri=run_uri)), name="always-close"):
        done = retraining(run_uri=run_uri, run_id=run_id, window=window)
        uncached(steps.conclude(run_uri=run_uri).after(done))
