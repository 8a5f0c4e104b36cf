"""Sign-off: a person's name under a verdict, bound to the digests of all that the verdict rests on.

A signature is a write-once file below the run, `signatures/{hex}.json`, named by the digest of what it says. It holds
as long as each digest in it is still the one found; whatever changes voids it, and says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from sextant_plan.canonical import canonical_json, digest_of
from sextant_plan.errors import InfrastructureError
from sextant_plan.files import write_atomically
from sextant_plan.schema import Closed
from sextant_plan.verdicts import Verdict

FOLDER = "signatures"


class Subject(Closed):
    """What is signed: a decision's verdict, and the digests of the plan, the bundle and the ledger behind it.

    `decision` is the id of the decision's closing record, `ledgers` the digest of each ledger file up to it.
    """

    run_id: str
    verdict: Verdict
    decision: str
    plan_hash: str
    bundle: str
    ledgers: dict[str, str]


class Signature(Closed):
    """The contents of a signature file; `time` is in Unix seconds."""

    schema_version: Literal[1] = 1
    person: str = Field(min_length=1)
    subject: Subject
    time: float


@dataclass(frozen=True)
class Standing:
    """Whose signatures hold, whose are void and why, and who of those required has none that holds."""

    valid: dict[str, Signature]
    void: dict[str, list[str]]
    missing: list[str]

    @property
    def verdict(self) -> Verdict:
        """`pass` once nobody is missing, else `unknown`: an absent signature refutes nothing."""
        return Verdict.UNKNOWN if self.missing else Verdict.PASS


def standing(required: Sequence[str], signatures: Iterable[Signature], subject: Subject) -> Standing:
    """Compare signatures with what is found now; a person's later signature replaces a void one."""
    valid: dict[str, Signature] = {}
    void: dict[str, list[str]] = {}
    for signature in sorted(signatures, key=lambda each: each.time):
        changed = differences(signature.subject, subject)
        if changed:
            void[signature.person] = changed
        else:
            valid[signature.person] = signature
    outdated = {person: changed for person, changed in void.items() if person not in valid}
    return Standing(valid, outdated, [person for person in required if person not in valid])


def differences(signed: Subject, found: Subject) -> list[str]:
    """Return what is no longer as it was signed, such as `bundle` or `ledger/train-2.jsonl`; nothing if all is."""
    changed = [
        name
        for name in ("run_id", "verdict", "decision", "plan_hash", "bundle")
        if getattr(signed, name) != getattr(found, name)
    ]
    files = sorted(signed.ledgers.keys() | found.ledgers.keys())
    return changed + [name for name in files if signed.ledgers.get(name) != found.ledgers.get(name)]


def write_signature(run: Path, signature: Signature) -> Path:
    """Write a signature; the same person's for the same subject is written once and then left as it is."""
    name = digest_of({"person": signature.person, "subject": signature.subject.model_dump(mode="json")})
    path = run / FOLDER / f"{name.removeprefix('sha256:')}.json"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, canonical_json(signature.model_dump(mode="json")))
    return path


def read_signatures(run: Path) -> list[Signature]:
    """Return the run's signatures, the oldest first. Raises InfrastructureError for a file that is none."""
    found = []
    for path in sorted((run / FOLDER).glob("*.json")):
        try:
            found.append(Signature.model_validate_json(path.read_bytes()))
        except ValidationError as error:
            raise InfrastructureError(f"{path}: not a signature. Remove the file and sign again.") from error
    return sorted(found, key=lambda each: each.time)
