"""Promotes the version of a run that stopped before its rollout, such as one that waited for signatures."""

from __future__ import annotations

from sextant_components.deployment.bundle_store import bundle_folder
from sextant_components.deployment.register import VERSION_TASK
from sextant_components.runs.context import RunContext, Step
from sextant_components.runs.outcome import ERROR_FILE, read_error
from sextant_components.runs.subject import subject_digest
from sextant_pipelines.local import held, recorded_code
from sextant_pipelines.runtime import close_run, run_roll_out
from sextant_plan.errors import ExitCode, UsageError
from sextant_plan.ledger import finished, read_run


def promote_run(context: RunContext) -> ExitCode:
    """Roll out the version that the run registered, conclude the run anew and rewrite its dossier.

    Returns the run's exit code. Raises what the rollout raises, such as NotAdmitted while a signature is missing,
    and UsageError if the run has registered no version.
    """
    from sextant_components.closing.conclude import run_conclude

    version = _registered_version(context)
    digest = subject_digest(read_run(context.run).get(Step.DECIDE, []))
    assert digest is not None  # register comes after a decision that names its bundle
    bundle = bundle_folder(context.home, context.plan.name, digest)
    with held(context.run):
        _forget_refusal(context)
        try:
            run_roll_out(str(context.run), bundle=str(bundle), version=version)
        finally:
            run_conclude(context)
            close_run(str(context.run))
    code = recorded_code(context.run)
    assert code is not None  # the conclusion has just been written
    return code


def _registered_version(context: RunContext) -> str:
    records = read_run(context.run).get(Step.REGISTER, [])
    found = [record.value for record in records if record.task == VERSION_TASK and isinstance(record.value, dict)]
    if not found or not finished(records):
        raise UsageError(f"{context.run}: this run registered no version, so there is nothing to promote.")
    return str(found[-1]["version"])


def _forget_refusal(context: RunContext) -> None:
    """Remove the rollout's earlier error, so that the one of this attempt can be kept; others stay."""
    error = read_error(context.run)
    if error is not None and error.step == Step.ROLL_OUT:
        (context.run / ERROR_FILE).unlink(missing_ok=True)
