"""`sextant report`: what a run proved, whether its evidence is whole, and how well the system is tested."""

from __future__ import annotations

from pathlib import Path

import click

from sextant_pipelines.options import home_option, json_option, print_json
from sextant_plan.errors import ExitCode, UsageError


@click.command("report")
@home_option
@click.argument(
    "run_dir", metavar="[RUN]", required=False, type=click.Path(path_type=Path, file_okay=False, exists=True)
)
@click.option("--verdicts", "verdicts_only", is_flag=True, help="Print the criteria alone, without steps and dossier.")
@click.option("--verify", is_flag=True, help="Verify every digest, the plan's hash, the chain and the looks instead.")
@click.option("--score", is_flag=True, help="Print the ML Test Score by test, section and in all instead.")
@json_option
def command(home: Path, run_dir: Path | None, *, verdicts_only: bool, verify: bool, score: bool, as_json: bool) -> int:
    """Print each criterion's verdict with its bound, the steps, and the dossier's path.

    RUN is the folder of a run; without it, the newest run below --home. Exits with the code that the run ended with;
    3 if it has not ended. With --verify: 4 for evidence that is not what was written, 1 for a look too many, 3 for
    a gap. With --score: 0.
    """
    from sextant_components.runs.context import open_run

    if verdicts_only + verify + score > 1:
        raise UsageError("--verdicts, --verify and --score exclude each other: each prints something else.")
    context = open_run(str(run_dir or newest_run(home)))
    if verify:
        from sextant_pipelines.audit import print_verification

        return print_verification(context, as_json=as_json)
    if score:
        from sextant_pipelines.audit import print_score

        return print_score(context, as_json=as_json)
    return _print_run(context.run, verdicts_only=verdicts_only, as_json=as_json)


def _print_run(run: Path, *, verdicts_only: bool, as_json: bool) -> int:
    from sextant_components.runs.context import open_run
    from sextant_pipelines.criteria import criterion_results, open_checks, step_results
    from sextant_pipelines.local import recorded_cause

    context = open_run(str(run))
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
        raise UsageError(f"{home}: no run here. Start one with sextant run, or name its folder.")
    return runs[-1].parent


def ended_with(run: Path) -> int:
    """Return the exit code of a run from its files; a run that is still going, or was killed, is unknown."""
    from sextant_pipelines.local import recorded_code

    code = recorded_code(run)
    return int(ExitCode.GATE_UNKNOWN if code is None else code)
