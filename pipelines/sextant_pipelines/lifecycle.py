"""The `lifecycle` pipeline: all eleven steps, four gates between them, and an exit that always writes the dossier.

Its shape and the measurements behind it: docs/adr/0003-lifecycle-pipeline-shape.md.
KFP 2.17 reads annotations as objects, so this file does without `from __future__ import annotations`.
"""

from kfp import dsl

from sextant_pipelines import steps
from sextant_pipelines.stages import PASS, make_and_release, uncached


@dsl.pipeline(  # type: ignore[untyped-decorator]
    name="stages", description="The steps of the life cycle, each stage behind the verdict of the last."
)
def stages(run_uri: str, run_id: str) -> None:
    """Run stage after stage while the verdict so far is `pass`."""
    planned = uncached(steps.plan(run_uri=run_uri, run_id=run_id))
    with dsl.If(planned.output == PASS, name="planned"):
        make_and_release(run_uri, uncached(steps.ingest(run_uri=run_uri)))


@dsl.pipeline(  # type: ignore[untyped-decorator]
    name="lifecycle", description="CRISP-ML(Q) from the plan to a watched model in service."
)
def lifecycle(run_uri: str, run_id: str) -> None:
    """Run the stages, conclude, and close the run whatever happened.

    `conclude` fails unless the run passed, which fails the pipeline. After a step that crashed it does not run, since
    the pipeline has failed by then; `close` writes the conclusion too.
    """
    with dsl.ExitHandler(uncached(steps.close(run_uri=run_uri)), name="always-close"):
        done = stages(run_uri=run_uri, run_id=run_id)
        uncached(steps.conclude(run_uri=run_uri).after(done))
