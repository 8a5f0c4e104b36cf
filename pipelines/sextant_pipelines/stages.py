"""The stages that `lifecycle` and `retrain` share: from a snapshot to a watched model in service.

KFP 2.17 reads annotations as objects, so this file does without `from __future__ import annotations`.
"""

from kfp import dsl

from sextant_pipelines import steps

PASS = "pass"


def uncached(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Switch KFP's cache off: a step writes evidence, which a cached answer would not."""
    return task.set_caching_options(enable_caching=False)


def make_and_release(run_uri: str, ingested: dsl.PipelineTask) -> None:
    """Add every step after `ingest` to the pipeline that is being defined.

    A step returns the worst verdict of all steps up to it, so that few conditions hold all gates.
    """
    snapshot = ingested.outputs["snapshot"]
    verified = uncached(steps.verify(run_uri=run_uri, snapshot=snapshot))
    with dsl.If(verified.outputs["Output"] == PASS, name="verified"):
        prepared = uncached(steps.prepare(run_uri=run_uri, snapshot=snapshot, verified=verified.outputs["verified"]))
        with dsl.If(prepared.outputs["Output"] == PASS, name="prepared"):
            data = {"run_uri": run_uri, "snapshot": snapshot, "splits": prepared.outputs["splits"]}
            trained = uncached(steps.train(**data))
            optimised = uncached(steps.optimise(**data, model=trained.outputs["model"]))
            bundle = optimised.outputs["bundle"]
            evaluated = uncached(steps.evaluate(**data, model=trained.outputs["model"], bundle=bundle))
            decided = uncached(steps.decide(run_uri=run_uri, bundle=bundle).after(evaluated))
            with dsl.If(decided.output == PASS, name="decided"):
                registered = uncached(steps.register(run_uri=run_uri, bundle=bundle))
                rolled_out = uncached(steps.roll_out(run_uri=run_uri, version=registered.output, bundle=bundle))
                uncached(steps.watch(**data).after(rolled_out))
