"""`sextant check`: is this plan one that can be run, and could its gates ever pass?"""

from __future__ import annotations

from pathlib import Path

import click

from sextant_pipelines.options import json_option, plan_argument, print_json


@click.command("check")
@plan_argument
@json_option
def command(plan_path: Path, as_json: bool) -> int:
    """Check PLAN (default plan.yaml) and print its hash; every fault comes with its line, column and remedy.

    Warnings name what the schema allows and will still stop a run, such as a limit that no result could prove.
    Exits 0, or 2 if the plan cannot be run.
    """
    from sextant_pipelines.advice import warnings_of
    from sextant_plan.loading import check_plan, load_plan, plan_hash
    from sextant_serving.architectures import needs

    findings = check_plan(plan_path, architectures=needs())
    if findings:
        if as_json:
            print_json({"plan": str(plan_path), "findings": [vars(finding) for finding in findings]})
        else:
            for finding in findings:
                click.echo(finding.render(plan_path), err=True)
            click.echo(f"{plan_path}: {len(findings)} fault{'s' * (len(findings) != 1)}", err=True)
        return 2
    plan = load_plan(plan_path)
    warnings = warnings_of(plan, plan_path.resolve().parent)
    if as_json:
        print_json({"plan": str(plan_path), "hash": plan_hash(plan), "findings": [], "warnings": warnings})
        return 0
    click.echo(plan_hash(plan))
    candidates = ", ".join(candidate.architecture for candidate in plan.model.candidates)
    click.echo(f"{plan.name}: {plan.model.task}, {len(plan.criteria)} criteria, candidates {candidates}")
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    return 0
