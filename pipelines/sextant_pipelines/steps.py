"""The life cycle's steps as KFP components: each one imports the installed package and makes one call.

Nothing is installed at run time, and no module-level name of this file reaches a component's body.
KFP 2.17 reads annotations as objects, so this file does without `from __future__ import annotations`.
"""

from functools import partial

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from sextant_pipelines.images import image_of

step = partial(dsl.component, base_image=image_of("train"), install_kfp_package=False)


@step
def plan(run_uri: str, run_id: str) -> str:
    """Freeze the plan and judge its feasibility."""
    from sextant_pipelines.runtime import run_step

    return run_step("plan", run_uri, run_id=run_id)


@step
def ingest(run_uri: str, snapshot: Output[Dataset], run_id: str = "", window: str = "") -> str:
    """Take an immutable snapshot of the source; where it comes first it names its run, and a retraining its window."""
    from sextant_pipelines.runtime import run_ingest

    return run_ingest(run_uri, run_id=run_id, window=window, snapshot=snapshot.path)


@step
def verify(run_uri: str, snapshot: Input[Dataset], verified: Output[Dataset]) -> str:
    """Check every row against the plan; keep what passes and record each fix."""
    from sextant_pipelines.runtime import run_step

    return run_step("verify", run_uri, snapshot=snapshot.path, verified=verified.path)


@step
def prepare(run_uri: str, snapshot: Input[Dataset], verified: Input[Dataset], splits: Output[Dataset]) -> str:
    """Split the rows, fill the feature store and prove that training and serving read the same numbers."""
    from sextant_pipelines.runtime import run_step

    return run_step("prepare", run_uri, snapshot=snapshot.path, verified=verified.path, splits=splits.path)


@step
def train(run_uri: str, snapshot: Input[Dataset], splits: Input[Dataset], model: Output[Model]) -> str:
    """Search, train over seeds and keep the best model."""
    from sextant_pipelines.runtime import run_step

    return run_step("train", run_uri, snapshot=snapshot.path, splits=splits.path, model=model.path)


@step
def optimise(
    run_uri: str, snapshot: Input[Dataset], splits: Input[Dataset], model: Input[Model], bundle: Output[Model]
) -> str:
    """Seal the fastest equivalent engine as a bundle."""
    from sextant_pipelines.runtime import run_step

    return run_step(
        "optimise", run_uri, snapshot=snapshot.path, splits=splits.path, model=model.path, bundle=bundle.path
    )


@step
def evaluate(
    run_uri: str, snapshot: Input[Dataset], splits: Input[Dataset], model: Input[Model], bundle: Input[Model]
) -> str:
    """Measure the bundle on the sealed split and on the real runtime; gradients come from the trained model."""
    from sextant_pipelines.runtime import run_step

    return run_step(
        "evaluate", run_uri, snapshot=snapshot.path, splits=splits.path, model=model.path, bundle=bundle.path
    )


@step
def decide(run_uri: str, bundle: Input[Model]) -> str:
    """Bring one verdict for each criterion."""
    from sextant_pipelines.runtime import run_step

    return run_step("decide", run_uri, bundle=bundle.path)


@step
def register(run_uri: str, bundle: Input[Model]) -> str:
    """Register the bundle; the output is the model's version."""
    from sextant_pipelines.runtime import run_register

    return run_register(run_uri, bundle=bundle.path)


@step
def roll_out(run_uri: str, version: str, bundle: Input[Model]) -> str:
    """Promote the version and put it in service."""
    from sextant_pipelines.runtime import run_roll_out

    return run_roll_out(run_uri, bundle=bundle.path, version=version)


@step
def watch(run_uri: str, snapshot: Input[Dataset], splits: Input[Dataset]) -> str:
    """Watch the server that is in service for one bounded pass."""
    from sextant_pipelines.runtime import run_step

    return run_step("watch", run_uri, snapshot=snapshot.path, splits=splits.path)


@step
def monitor(run_uri: str, run_id: str, window: str = "") -> str:
    """Judge what the servers logged in a window: drift, predictions, quality by delayed labels."""
    from sextant_pipelines.runtime import run_monitor

    return run_monitor(run_uri, run_id=run_id, window=window)


@step
def conclude(run_uri: str) -> str:
    """Write the conclusion; fails unless every verdict is a pass."""
    from sextant_pipelines.runtime import conclude

    return conclude(run_uri)


@step
def close(run_uri: str) -> str:
    """Write the dossier and publish the run, whatever happened before."""
    from sextant_pipelines.runtime import close_run

    return close_run(run_uri)
