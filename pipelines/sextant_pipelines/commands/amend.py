"""`sextant amend`: says in a changed plan which frozen one it replaces, who changed it and why."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from sextant_pipelines.options import home_option, plan_argument


@click.command("amend")
@plan_argument
@click.option("--author", required=True, help="Who changed the plan.")
@click.option("--reason", required=True, help="Why it had to change, in a sentence.")
@home_option
def command(plan_path: Path, author: str, reason: str, home: Path) -> int:
    """Write into PLAN (default plan.yaml) the block `amends`: parent, author, reason and today's date (UTC).

    The parent is the plan of this name that a run below --home evaluated last. Change the criteria first, then amend:
    a run of changed criteria without it is unknown. Comments and all other lines of the file stay. Prints the new hash.
    """
    from sextant_components.runs.frozen_plans import last_frozen
    from sextant_plan.amendment import amend_file
    from sextant_plan.errors import UsageError
    from sextant_plan.loading import load_plan
    from sextant_plan.schema import Amendment

    plan = load_plan(plan_path)
    frozen = last_frozen(home, plan.name)
    if frozen is None:
        raise UsageError(
            f"{home}: no run of a plan named {plan.name} has been evaluated, so nothing binds it yet. "
            "Change it freely, or name the home of its runs with --home."
        )
    for option, text in (("--author", author), ("--reason", reason)):
        if not text.strip():
            raise UsageError(f"{option} is empty. Write a {option.removeprefix('--')}.")
    amendment = Amendment(parent=frozen.hash, author=author, reason=reason, date=datetime.now(UTC).date())
    click.echo(amend_file(plan_path, frozen.plan, amendment))
    click.echo(f"{plan_path}: amends the plan of run {frozen.run.name}, {frozen.hash[:19]}", err=True)
    return 0
