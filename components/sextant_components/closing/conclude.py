"""The last word on a run: one verdict and one exit code, written where any caller can read them."""

from __future__ import annotations

from sextant_components.runs.context import RunContext, Step
from sextant_components.runs.outcome import Outcome, StepError, read_outcome
from sextant_plan.canonical import digest_of
from sextant_plan.errors import ExitCode
from sextant_plan.files import write_atomically
from sextant_plan.schema import Closed
from sextant_plan.verdicts import Verdict

CONCLUSION_FILE = "conclusion.json"


class Conclusion(Closed):
    """The contents of conclusion.json.

    `steps` has the verdict of each finished step and null for any other. `ledgers` seals the ledger files as
    they were judged, including the last record of each, which no later record chains; `evidence` is their digest.
    """

    schema_version: int = 1
    run_id: str
    plan_hash: str
    verdict: Verdict
    exit_code: ExitCode
    steps: dict[Step, Verdict | None]
    unfinished: list[Step]
    not_reached: list[Step]
    damaged: dict[str, str]
    error: StepError | None
    ledgers: dict[str, str]
    evidence: str


def run_conclude(context: RunContext) -> Verdict:
    """Write conclusion.json and return the run's verdict; a bad run is a verdict here, never an exception.

    `pass` needs a decision that was taken and carried out, every step that began finished, and every artifact
    as it was stored. The exit code is 2 for an error in the plan or the data, 4 for a step that died.
    """
    outcome = read_outcome(context.run)
    conclusion = _conclusion(context, outcome)
    write_atomically(context.run / CONCLUSION_FILE, (conclusion.model_dump_json(indent=1) + "\n").encode())
    return conclusion.verdict


def _conclusion(context: RunContext, outcome: Outcome) -> Conclusion:
    ledgers = {name: digest for name, digest in outcome.files.items() if name.startswith("ledger/")}
    return Conclusion(
        run_id=context.run_id,
        plan_hash=context.plan_hash,
        verdict=outcome.verdict,
        exit_code=outcome.exit_code,
        steps={step: found.verdict for step, found in outcome.steps.items()},
        unfinished=outcome.unfinished,
        not_reached=outcome.not_reached,
        damaged=outcome.damaged,
        error=outcome.error,
        ledgers=ledgers,
        evidence=digest_of(ledgers),
    )
