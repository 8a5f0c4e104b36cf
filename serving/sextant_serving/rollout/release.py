"""A release: what is to be rolled out, with all the evidence that allows it in one document that checks itself."""

from __future__ import annotations

from typing import Any, Literal

from sextant_plan.drills import Conducted, read_conducted
from sextant_plan.ledger import Record, verify_lines
from sextant_plan.promotion import Promotion
from sextant_plan.schema import Closed, Plan
from sextant_plan.sign_off import Signature, Subject

DECISION_STEP, DECISION_TASK = "decide", "bundle decided on"


class Release(Closed):
    """The contents of release.json.

    `plan` is the plan's canonical form and `decision` the lines of the decide step's ledger, so that both can be
    checked against their hashes. `bundle_version` is what a server that serves the bundle says of itself. `replaces`
    is the version that the evaluation compared with, and `sequence` the place of its promotion, 0 and None for none.
    `drills` are the ledgers of the drills that the plan asks for. `stable` and `canary` name the variants.
    """

    schema_version: Literal[1] = 1
    name: str
    version: str
    bundle_version: str
    digest: str
    bundle: str
    feature_repo: str | None
    run_id: str
    plan: dict[str, Any]
    plan_hash: str
    decision: list[str]
    sequence: int
    replaces: str | None
    subject: Subject | None = None
    signatures: list[Signature] = []
    drills: list[list[str]] = []
    stable: str = "stable"
    canary: str = "canary"

    def read_plan(self) -> Plan:
        """Return the plan."""
        return Plan.model_validate(self.plan)

    def records(self) -> list[Record]:
        """Return the decision's records. Raises LedgerCorrupt if they are not what was written."""
        return verify_lines((line.encode() for line in self.decision), f"release of {self.name} {self.version}")

    def conducted(self) -> list[Conducted]:
        """Return the drills. Raises LedgerCorrupt if one is not what was written."""
        return [read_conducted(lines, f"a drill of {self.name}") for lines in self.drills]

    def promotion(self) -> Promotion:
        """Return the promotion to write: in the place after the version that this one was judged against."""
        decision = self.records()[-1]
        return Promotion(
            sequence=self.sequence + 1,
            name=self.name,
            version=self.version,
            digest=self.digest,
            replaces=self.replaces,
            bundle=self.bundle,
            feature_repo=self.feature_repo,
            run_id=self.run_id,
            plan_hash=self.plan_hash,
            decision=decision.id,
            decided=decision.time,
        )
