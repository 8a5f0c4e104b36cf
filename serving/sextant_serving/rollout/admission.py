"""Admission: a version whose evidence does not say pass gets no traffic, and is told why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from sextant_plan.canonical import digest_of
from sextant_plan.drills import drill_objections
from sextant_plan.errors import LedgerCorrupt
from sextant_plan.ledger import Record, finished
from sextant_plan.sign_off import standing
from sextant_plan.verdicts import Verdict
from sextant_serving.rollout.release import DECISION_STEP, DECISION_TASK, Release

DigestOf = Callable[[str, str], str | None]
"""Returns the bundle's digest that the registry bound to a model's version, None if there is none."""


@dataclass(frozen=True)
class Refusal:
    """Why a release is not admitted, and the way out."""

    verdict: Verdict
    reason: str
    remedy: str


def admit(release: Release, digest_of_version: DigestOf) -> Refusal | None:
    """Return the first thing that stands against a release, None if nothing does.

    The documents are checked against their hashes first; after that the decision must be a pass on this very bundle
    by this very plan, the registry must know the version by this digest, the drills that the plan asks for must have
    passed not too long ago, and every signature that it asks for must hold.
    """
    return next(chain(objections(release, digest_of_version), _against_signatures(release)), None)


def objections(release: Release, digest_of_version: DigestOf) -> Iterator[Refusal]:
    """Yield what stands against a release apart from its signatures."""
    if digest_of(release.plan) != release.plan_hash:
        yield _unknown("the plan is not the one of its hash", "Make the release again from its run")
    if release.plan.get("name") != release.name:
        yield _unknown("the plan is another model's", "Make the release again from its run")
    try:
        records = release.records()
    except LedgerCorrupt as error:
        yield _unknown(f"the decision is damaged ({error})", "Make the release again from its run")
        return
    yield from _against_decision(records, release)
    if digest_of_version(release.name, release.version) != release.digest:
        yield _unknown(
            f"version {release.version} is not bound to this bundle", "Run the register step for this bundle first"
        )
    yield from _against_drills(release)


def _against_decision(records: list[Record], release: Release) -> Iterator[Refusal]:
    if not finished(records) or records[-1].step != DECISION_STEP:
        yield _unknown("this run has no finished decision", "Run the decide step first")
        return
    last = records[-1]
    if last.verdict is not Verdict.PASS:
        remedy = "Read the dossier for the criteria that block"
        yield Refusal(last.verdict, f"the decision is {last.verdict}", remedy)
    decided = [record.value for record in records if record.task == DECISION_TASK and isinstance(record.value, dict)]
    if not decided or decided[-1].get("digest") != release.digest:
        yield _unknown("the decision is about another bundle", "Evaluate and decide on this bundle first")
    if last.plan_hash != release.plan_hash:
        yield _unknown("the decision is by another plan", "Run the plan of this release first")


def _against_drills(release: Release) -> Iterator[Refusal]:
    """Yield what is wrong with the drills, by this machine's clock."""
    try:
        conducted = release.conducted()
    except LedgerCorrupt as error:
        yield _unknown(f"a drill's evidence is damaged ({error})", "Make the release again from its run")
        return
    first = release.replaces is None
    for verdict, problem in drill_objections(release.read_plan(), conducted, first=first, now=time.time()):
        yield Refusal(verdict, problem, "Hold it with sextant drill, then sextant promote the run again")


def _against_signatures(release: Release) -> Iterator[Refusal]:
    """Yield what is wrong with the signatures; the decision is sound by then."""
    wanted = release.read_plan().sign_off
    if wanted is None:
        return
    decision = release.records()[-1]
    remedy = "Have it signed with sextant sign, then make the release again"
    subject = release.subject
    bound = (decision.id, release.digest, release.plan_hash)
    if subject is None or (subject.decision, subject.bundle, subject.plan_hash) != bound:
        yield _unknown("its signatures are under another decision", remedy)
        return
    missing = standing(wanted.required, release.signatures, subject).missing
    if missing:
        yield _unknown(f"the plan requires the signature of {', '.join(missing)}", remedy)


def _unknown(reason: str, remedy: str) -> Refusal:
    return Refusal(Verdict.UNKNOWN, reason, remedy)
