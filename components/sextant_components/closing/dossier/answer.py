"""The answer: what the run's verdict is, what it means, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass

from sextant_components.closing.dossier.checks import incomplete
from sextant_components.closing.dossier.claims import Claim
from sextant_components.closing.dossier.criteria import Judged, judged, rows_to_decide, statement
from sextant_components.closing.dossier.facts import Facts, is_bad
from sextant_components.closing.dossier.wording import closed, finding, listed, number, words
from sextant_components.runs.context import Step
from sextant_components.runs.outcome import State, StepError
from sextant_plan.catalogue import Kind
from sextant_plan.errors import ExitCode
from sextant_plan.ledger import Record
from sextant_plan.verdicts import Verdict

HEADLINES = {
    ExitCode.OK: "Proved, and in service",
    ExitCode.GATE_FAILED: "Disproved: do not use this model",
    ExitCode.USAGE: "The plan or its data has to be corrected",
    ExitCode.GATE_UNKNOWN: "Not proved: do not use this model yet",
    ExitCode.INFRASTRUCTURE: "The run broke before it could be judged",
}
BEFORE_A_MODEL = (Step.PLAN, Step.INGEST, Step.VERIFY, Step.PREPARE)
REMEDIES = {
    Kind.BUSINESS: "look at the rows that the model leaves unanswered, and at the threshold it abstains below",
    Kind.ML: "read the errors and the weakest slices below, then mend labels, add data there, or widen the search",
    Kind.ECONOMIC: "check the plan's economics, then the errors that cost most",
    Kind.FAIRNESS: "look at the slice with the lowest accuracy, and collect or weigh rows for it",
    Kind.ROBUSTNESS: "train with the corruption that hurts most, or keep such inputs away from the model",
    Kind.LATENCY: "try a faster engine or a smaller candidate, or give the server more hardware in the plan",
    Kind.RELIABILITY: "read the server's errors in run.log before anything else",
    Kind.DATA: "mend the source: the fixes below name each row and rule",
    Kind.DRIFT: "compare the live inputs with the training reference before retraining",
}


@dataclass(frozen=True)
class Stage:
    """One step on the way: its name, how far it came in one word, and the claim that says so."""

    name: str
    state: str
    claim: Claim


@dataclass(frozen=True)
class Answer:
    """What stands at the top of the page."""

    verdict: Verdict
    exit_code: ExitCode
    headline: str
    meaning: list[Claim]
    actions: list[Claim]
    stages: list[Stage]


def answer(facts: Facts) -> Answer:
    """Return the run's answer; every reason for a verdict other than pass is said in a sentence."""
    outcome = facts.outcome
    return Answer(
        verdict=outcome.verdict,
        exit_code=outcome.exit_code,
        headline=_headline(facts),
        meaning=_meaning(facts),
        actions=_actions(facts),
        stages=[_stage(facts, step) for step in Step],
    )


def _headline(facts: Facts) -> str:
    """Return the headline; a run that its gates stopped before there was a model says where."""
    code = facts.outcome.exit_code
    if code in {ExitCode.GATE_FAILED, ExitCode.GATE_UNKNOWN}:
        for step in BEFORE_A_MODEL:
            closing = facts.closing(step)
            if closing is not None and is_bad(closing):
                return f"Stopped at {words(step.value)}, before there was a model to judge"
        if _in_service(facts):
            return (
                "In service, and failing there" if code is ExitCode.GATE_FAILED else "In service, and not proved there"
            )
    return HEADLINES[code]


def _in_service(facts: Facts) -> Record | None:
    """Return the record that closed a roll-out which put the model in service."""
    closing = facts.closing(Step.ROLL_OUT)
    return None if closing is None or is_bad(closing) else closing


def _stage(facts: Facts, step: Step) -> Stage:
    found, closing = facts.outcome.steps[step], facts.closing(step)
    if closing is not None:
        claim = Claim(f"{words(step.value)} ended with {closing.verdict.value}.", [closing])
        return Stage(words(step.value), closing.verdict.value, claim)
    short = incomplete(facts, step)
    assert short is not None
    return Stage(
        words(step.value), found.state.value, Claim(f"{words(step.value)}: {found.state.value}", short.evidence)
    )


def _meaning(facts: Facts) -> list[Claim]:
    claims = _broken(facts)
    items = judged(facts)
    gates = [item for item in items if item.is_gate]
    claims += [statement(item) for item in items if _matters(item) and item.measured is not None]
    claims += _unmeasured([item for item in items if _matters(item) and item.measured is None])
    claims += [_failed_check(record) for record in _failed_checks(facts)]
    claims += _stopped(facts)
    passed = [item for item in gates if item.verdict is Verdict.PASS]
    if passed:
        which = "All" if len(passed) == len(gates) else f"{number(len(passed))} of"
        text = f"{which} {number(len(gates))} {'gate' if len(gates) == 1 else 'gates'} of the plan"
        claims.append(
            Claim(f"{text} {'holds' if len(passed) == 1 else 'hold'} with the confidence that the plan asks for.",
                  [item.evidence[-1] for item in passed])
        )  # fmt: skip
    released = _in_service(facts)
    if released is not None:
        claims.append(Claim("The model was promoted and put in service.", [released]))
    elif facts.outcome.steps[Step.ROLL_OUT].state is State.NOT_REACHED:
        claims.append(Claim("Nothing was promoted: what was in service before is still in service.", [facts.ledger]))
    return claims


def _unmeasured(items: list[Judged]) -> list[Claim]:
    """Say once which gates have no evidence at all, since one reason mostly lies behind them all."""
    if not items:
        return []
    evidence = [citable for item in items for citable in item.evidence]
    text = f"No evidence was recorded for {listed([item.criterion.id for item in items])}; that blocks like a fail."
    return [Claim(text, evidence)]


def _matters(item: Judged) -> bool:
    """Tell whether the criterion has to be spoken of: a gate that does not pass, or any criterion that fails."""
    return item.verdict is Verdict.FAIL or (item.verdict is not Verdict.PASS and (item.is_gate or bool(item.measured)))


def _broken(facts: Facts) -> list[Claim]:
    """Say what stopped the run other than a verdict: an error, a step that died, evidence that changed."""
    error, outcome = facts.outcome.error, facts.outcome
    claims = [claim for step in outcome.unfinished if (claim := incomplete(facts, step)) is not None]
    if error is not None and error.step not in {step.value for step in outcome.unfinished}:
        text = f"The step {words(error.step)} stopped with an error: {closed(error.message)}"
        claims.insert(0, Claim(text, [facts.file("error.json")]))
    for artifact in facts.artifacts(*Step):
        problem = outcome.damaged.get(artifact.digest)
        if problem is not None:
            text = f"The evidence “{artifact.name}” of the check “{artifact.record.task}” is lost: {problem}."
            claims.append(Claim(text, [artifact.record]))
    return claims


def _failed_checks(facts: Facts) -> list[Record]:
    """Return the records that explain why a step did not pass, without those that a criterion's sentence covers.

    The decision repeats what the steps before it found, so its checks are named only if they alone explain it.
    """
    told = [item.measured for item in judged(facts) if _matters(item)]
    found: list[Record] = []
    for step in Step:
        closing = facts.closing(step)
        if closing is None or not is_bad(closing):
            continue
        bad = list(filter(is_bad, facts.records(step)))
        decisive = [record for record in bad if record.verdict is closing.verdict and record not in told]
        if step is Step.DECIDE:
            if found or any(told):
                continue
            decisive = [record for record in decisive if record.criterion is None]
        found += decisive if bad else [closing]
    return found


def _failed_check(record: Record) -> Claim:
    verb = "failed" if record.verdict is Verdict.FAIL else "was not decided"
    return Claim(
        f"{words(record.step)}: the check “{record.task}” {verb}. It asks that {_lower(record.requirement)}; "
        f"found: {closed(finding(record))}",
        [record],
    )


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


def _stopped(facts: Facts) -> list[Claim]:
    missing = [words(step.value) for step in facts.outcome.not_reached]
    if not missing:
        return []
    return [Claim(f"Not reached: {listed(missing)}.", [facts.ledger])]


def _actions(facts: Facts) -> list[Claim]:
    outcome = facts.outcome
    if outcome.exit_code is ExitCode.OK:
        watch = facts.closing(Step.WATCH)
        text = "Keep watching: the plan's alerts and retrain rules now hold for this version."
        return [Claim(text, [watch or outcome.records[-1]])]
    claims: list[Claim] = []
    error = outcome.error
    if error is not None:
        claims.append(Claim(_after_error(error), [facts.file("error.json")]))
    elif outcome.unfinished:
        files = [facts.file(found.file) for found in outcome.steps.values() if found.file and found.verdict is None]
        claims.append(
            Claim("Read run.log for the reason why the step died (memory, disk, a stopped machine); run again.", files)
        )
    if outcome.damaged:
        bad = [artifact.record for artifact in facts.artifacts(*Step) if artifact.digest in outcome.damaged]
        claims.append(Claim("Restore the run's artifacts from their store, or run again.", bad))
    claims += [_remedy(item) for item in judged(facts) if _matters(item) and item.measured is not None]
    if any(record.verdict is Verdict.FAIL for record in _failed_checks(facts)):
        failed = [record for record in _failed_checks(facts) if record.verdict is Verdict.FAIL]
        claims.append(Claim("Mend what the failed checks above name, then run again.", failed))
    released = _in_service(facts)
    if released is not None and outcome.verdict is Verdict.FAIL:
        claims.insert(0, Claim("Put the previous version back in service while the cause is looked for.", [released]))
    if not claims:
        claims.append(Claim("Run again to the end: what is missing above is not proved by waiting.", [facts.ledger]))
    if any(item.verdict is Verdict.FAIL for item in judged(facts)):
        _, source = facts.plan
        text = "If a criterion itself is wrong, amend the plan with an author and a reason; limits are not moved."
        claims.append(Claim(text, [source]))
    return claims


def _after_error(error: StepError) -> str:
    if error.exit_code is ExitCode.USAGE:
        return "Correct the plan or the data where the error says, then run again."
    if error.exit_code is ExitCode.GATE_FAILED:
        return "Find out which other run was promoted meanwhile, and compare with it before running again."
    return "Mend the machine, server or file that the error names, then run again; the plan needs no change."


def _remedy(item: Judged) -> Claim:
    remedy = REMEDIES[item.criterion.definition.kind]
    rows = rows_to_decide(item)
    if item.verdict is Verdict.UNKNOWN and rows is not None:
        unit = "requests" if item.criterion.definition.by_request else "labelled rows"
        return Claim(f"For {item.criterion.id}: measure on about {number(rows)} {unit} or more.", item.evidence)
    return Claim(f"For {item.criterion.id}: {remedy}.", item.evidence)
