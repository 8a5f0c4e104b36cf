"""How `sextant report` prints a run's verification and its ML Test Score."""

from __future__ import annotations

import click

from sextant_components.runs.context import RunContext
from sextant_pipelines.options import print_json
from sextant_plan.errors import ExitCode


def print_verification(context: RunContext, *, as_json: bool) -> int:
    """Verify a run's evidence, print each flaw with its file and line, and return the exit code."""
    from sextant_components.closing.verification import describe, verify_run

    found = verify_run(context)
    if as_json:
        print_json({"run": str(context.run), **found.as_json()})
    else:
        for line in describe(context.run, found):
            click.echo(line)
    return int(found.exit_code)


def print_score(context: RunContext, *, as_json: bool) -> int:
    """Print a run's ML Test Score; a low score is no failure of the command."""
    from sextant_components.closing.dossier.facts import read_facts
    from sextant_components.closing.dossier.score import compute_score

    score = compute_score(read_facts(context))
    if as_json:
        print_json({"run": str(context.run), **score.as_json()})
        return int(ExitCode.OK)
    for name, points in score.sections.items():
        click.echo(f"{name:16} {points:g} of 7")
        for each in score.tests:
            if each.test.section == name:
                click.echo(f"  {each.points:<4g} {each.test.question}  {each.reason}")
    click.echo(f"{'total':16} {score.total:g} of 7: {score.meaning}")
    return int(ExitCode.OK)
