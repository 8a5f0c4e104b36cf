"""The `lifecycle` pipeline: all eleven steps, four gates between them, and an exit that always writes the dossier.

Its shape and the measurements behind it: docs/adr/0003-lifecycle-pipeline-shape.md.
KFP 2.17 reads annotations as objects, so this file does without `from __future__ import annotations`.
"""

from kfp import dsl

from sextant_pipelines import steps

PASS = "pass"


def _uncached(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Switch KFP's cache off: a step writes evidence, which a cached answer would not."""
    return task.set_caching_options(enable_caching=False)


@dsl.pipeline(  # type: ignore[untyped-decorator]
    name="stages", description="The steps of the life cycle, each stage behind the verdict of the last."
)
def stages(run_uri: str, run_id: str) -> None:
    """Run stage after stage while the verdict so far is `pass`.

    A step returns the worst verdict of all steps up to it, so that four conditions hold eleven gates.
    """
    planned = _uncached(steps.plan(run_uri=run_uri, run_id=run_id))
    with dsl.If(planned.output == PASS, name="planned"):
        ingested = _uncached(steps.ingest(run_uri=run_uri))
        snapshot = ingested.outputs["snapshot"]
        verified = _uncached(steps.verify(run_uri=run_uri, snapshot=snapshot))
        with dsl.If(verified.outputs["Output"] == PASS, name="verified"):
            prepared = _uncached(
                steps.prepare(run_uri=run_uri, snapshot=snapshot, verified=verified.outputs["verified"])
            )
            splits = prepared.outputs["splits"]
            with dsl.If(prepared.outputs["Output"] == PASS, name="prepared"):
                data = {"run_uri": run_uri, "snapshot": snapshot, "splits": splits}
                trained = _uncached(steps.train(**data))
                optimised = _uncached(steps.optimise(**data, model=trained.outputs["model"]))
                bundle = optimised.outputs["bundle"]
                evaluated = _uncached(steps.evaluate(**data, bundle=bundle))
                decided = _uncached(steps.decide(run_uri=run_uri, bundle=bundle).after(evaluated))
                with dsl.If(decided.output == PASS, name="decided"):
                    registered = _uncached(steps.register(run_uri=run_uri, bundle=bundle))
                    rolled_out = _uncached(steps.roll_out(run_uri=run_uri, version=registered.output, bundle=bundle))
                    _uncached(steps.watch(**data).after(rolled_out))


@dsl.pipeline(  # type: ignore[untyped-decorator]
    name="lifecycle", description="CRISP-ML(Q) from the plan to a watched model in service."
)
def lifecycle(run_uri: str, run_id: str) -> None:
    """Run the stages, conclude, and close the run whatever happened.

    `conclude` fails unless the run passed, which fails the pipeline; it runs also after a step that crashed.
    """
    with dsl.ExitHandler(_uncached(steps.close(run_uri=run_uri)), name="always-close"):
        done = stages(run_uri=run_uri, run_id=run_id)
        _uncached(steps.conclude(run_uri=run_uri).after(done).ignore_upstream_failure())
