"""`sextant override`: lets one criterion pass for a time, under a person's name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from sextant_pipelines.options import home_option, plan_argument


@click.command("override")
@plan_argument
@click.option("--criterion", "criterion_id", required=True, metavar="ID", help="Criterion that is to pass.")
@click.option("--as", "person", required=True, metavar="NAME", help="Who answers for it; among owner.approvers.")
@click.option("--reason", required=True, help="Why it may pass, in a sentence.")
@click.option(
    "--until",
    required=True,
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M"]),
    help="When the override expires (UTC).",
)
@home_option
def command(plan_path: Path, *, criterion_id: str, person: str, reason: str, until: datetime, home: Path) -> int:
    """Let a criterion of PLAN pass until a date although its evidence does not.

    Bound to the plan and to the criterion as they are: a change of either ends it. Runs below --home that start a step
    before the expiry honour it; the evidence keeps its verdict, and the decision names person, reason and expiry.
    """
    from sextant_plan.errors import UsageError
    from sextant_plan.fault import choose
    from sextant_plan.ledger import criterion_hash
    from sextant_plan.loading import load_plan, plan_hash
    from sextant_plan.overrides import Override, write_override

    plan = load_plan(plan_path)
    criteria = {criterion.id: criterion for criterion in plan.criteria}
    if criterion_id not in criteria:
        raise UsageError(
            f"--criterion {criterion_id}: the plan has no such criterion. {choose(criterion_id, criteria)}."
        )
    if person not in plan.owner.approvers:
        raise UsageError(f"--as {person}: not among owner.approvers. {choose(person, plan.owner.approvers)}.")
    if not reason.strip():
        raise UsageError("--reason is empty. Write why the criterion may pass.")
    now, expires = datetime.now(UTC), until.replace(tzinfo=UTC)
    if expires <= now:
        raise UsageError(f"--until {until:%Y-%m-%dT%H:%M}: this is past. Give a time to come, in UTC.")
    override = Override(
        plan_hash=plan_hash(plan),
        criterion=criterion_id,
        criterion_hash=criterion_hash(criteria[criterion_id]),
        person=person,
        reason=reason,
        created=now,
        expires=expires,
    )
    click.echo(str(write_override(home, override)))
    click.echo(f"{criterion_id}: {override.sentence}", err=True)
    return 0
