"""The signatures under a run's decision: what they are bound to, and the refusal to promote without them."""

from __future__ import annotations

from sextant_components.deployment.bundle_store import bundle_folder
from sextant_components.runs.context import RunContext, Step
from sextant_components.runs.subject import subject_digest
from sextant_plan.bundle import read_bundle
from sextant_plan.canonical import digest_of_file
from sextant_plan.errors import BundleCorrupt, UsageError
from sextant_plan.ledger import LedgerWriter, Record, attempts, finished, read_run
from sextant_plan.promotion import NotAdmitted
from sextant_plan.sign_off import Standing, Subject, read_signatures, standing
from sextant_plan.verdicts import Verdict


def signing_subject(context: RunContext) -> Subject:
    """Return what there is to sign in a run, from its files as they are now.

    Raises UsageError before the decision is finished, and LedgerCorrupt or BundleCorrupt where evidence or the
    registered bundle is not what was written.
    """
    records = read_run(context.run).get(Step.DECIDE, [])
    bundle = subject_digest(records)
    if not finished(records) or bundle is None:
        raise UsageError(f"{context.run}: no finished decision to sign. Run the plan first: sextant run.")
    _verify_stored(context, bundle)
    return _subject(context, records[-1], bundle)


def standing_of(context: RunContext) -> Standing:
    """Return whose signatures under the run's decision hold, by the plan's sign_off."""
    return standing(required_signers(context), read_signatures(context.run), signing_subject(context))


def required_signers(context: RunContext) -> list[str]:
    """Return the people who must sign before promotion; none where the plan lists no sign_off."""
    return list(context.plan.sign_off.required) if context.plan.sign_off else []


def require_sign_off(context: RunContext) -> None:
    """Raise NotAdmitted as `unknown` while a required signature is missing or void."""
    if context.plan.sign_off is None:
        return
    found = standing_of(context)
    if found.verdict is Verdict.PASS:
        return
    void = "".join(f"; {person}'s is void, since {', '.join(why)} changed" for person, why in found.void.items())
    raise NotAdmitted(
        f"the plan requires the signature of {', '.join(found.missing)}{void}",
        f"Have it signed: sextant sign {context.run} --as {found.missing[0]}; then: sextant promote {context.run}",
        verdict=Verdict.UNKNOWN,
    )


def record_sign_off(ledger: LedgerWriter, context: RunContext) -> None:
    """Record whose signatures the release rests on, each as an artifact; nothing where the plan lists no sign_off."""
    if context.plan.sign_off is None:
        return
    found = standing_of(context)
    ledger.record(
        "sign-off",
        requirement="the people whom the plan names have signed this verdict",
        risk="a model goes live that nobody answers for",
        qa_method="each signature's digests of plan, decision, bundle and ledger files against those found now",
        verdict=found.verdict,
        value={"signed": sorted(found.valid), "missing": found.missing},
        artifacts={
            f"signature-{person}.json": ledger.artifacts.put_json(signature.model_dump(mode="json"))
            for person, signature in found.valid.items()
        },
    )


def _subject(context: RunContext, decision: Record, bundle: str) -> Subject:
    order = [step.value for step in Step]
    bound = order[: order.index(Step.DECIDE.value) + 1]
    files = [path for path in attempts(context.run) if path.stem.rpartition("-")[0] in bound]
    return Subject(
        run_id=context.run_id,
        verdict=decision.verdict,
        decision=decision.id,
        plan_hash=context.plan_hash,
        bundle=bundle,
        ledgers={f"ledger/{path.name}": digest_of_file(path) for path in files},
    )


def _verify_stored(context: RunContext, digest: str) -> None:
    """Verify the registered copy of the bundle, if register has made one."""
    folder = bundle_folder(context.home, context.plan.name, digest)
    if folder.exists() and (found := read_bundle(folder).digest) != digest:
        raise BundleCorrupt(folder, "bundle.json", found, digest)
