"""`sextant report`: what a run proved."""

from __future__ import annotations

from pathlib import Path

import click

from sextant_pipelines.options import home_option, json_option, print_json
from sextant_plan.errors import ExitCode, UsageError


@click.command("report")
@home_option
@click.option(
    "--run",
    "run_dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of the run. Default: the newest run below --home.",
)
@click.option("--verdicts", "verdicts_only", is_flag=True, help="Print the criteria alone, without steps and dossier.")
@json_option
def command(home: Path, run_dir: Path | None, verdicts_only: bool, as_json: bool) -> int:
    """Print each criterion's verdict with its bound, the steps, and the dossier's path.

    Exits with the code that the run ended with; 3 if it has not ended.
    """
    from sextant_components.context import open_run
    from sextant_pipelines.criteria import criterion_results, open_checks, step_results
    from sextant_pipelines.local import recorded_cause

    context = open_run(str(run_dir or newest_run(home)))
    criteria, checks, steps = criterion_results(context), open_checks(context), step_results(context)
    dossier = context.run / "dossier.html"
    code, cause = ended_with(context.run), recorded_cause(context.run)
    if as_json:
        print_json(
            {
                "run": str(context.run),
                "exit_code": code,
                "cause": cause,
                "criteria": [result.as_json() for result in criteria],
                "checks": [vars(check) for check in checks],
                "steps": [vars(step) for step in steps],
                "dossier": str(dossier) if dossier.exists() else None,
            }
        )
        return code
    for result in criteria:
        click.echo(result.line)
    for check in checks:
        click.echo(check.line)
    if not verdicts_only:
        click.echo()
        for step in steps:
            state = "" if step.finished else "  did not finish"
            click.echo(f"{step.verdict:8} {step.step:9} {step.phase:17} {step.seconds:7.1f} s{state}")
        click.echo(f"\ndossier  {dossier if dossier.exists() else 'none'}")
    if cause:
        click.echo(cause, err=True)
    return code


def newest_run(home: Path) -> Path:
    """Return the run that was started last. Raises UsageError if there is none."""
    runs = sorted(home.glob("runs/*/run.json"), key=lambda path: path.stat().st_mtime_ns)
    if not runs:
        raise UsageError(f"{home}: no run here. Start one with sextant run, or name it with --run.")
    return runs[-1].parent


def ended_with(run: Path) -> int:
    """Return the exit code of a run from its files; a run that is still going, or was killed, is unknown."""
    from sextant_pipelines.local import recorded_code

    code = recorded_code(run)
    return int(ExitCode.GATE_UNKNOWN if code is None else code)
