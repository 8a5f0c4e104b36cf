"""`sextant sign`: a person's name under a run's verdict, bound to the digests it rests on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sextant_pipelines.options import json_option, print_json

if TYPE_CHECKING:
    from sextant_components.runs.context import RunContext
    from sextant_plan.sign_off import Standing


@click.command("sign")
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--as", "person", metavar="NAME", help="Who signs. Default: nobody; the signatures there are shown.")
@json_option
def command(run_dir: Path, person: str | None, as_json: bool) -> int:
    """Sign the decision of RUN, or show whose signatures hold.

    A signature binds the verdict to the digests of the plan, the bundle and the ledger up to the decision; when one of
    them changes, it is void. NAME is among the plan's sign_off.required or, where there is none, owner.approvers.
    Exits 0, or 3 while a required signature is missing or void.
    """
    from sextant_components.deployment.sign_off import signing_subject, standing_of
    from sextant_components.runs.context import open_run
    from sextant_plan.sign_off import Signature, write_signature
    from sextant_plan.verdicts import exit_code

    context = open_run(str(run_dir))
    if person is not None:
        _require_signer(context, person)
        signature = Signature(person=person, subject=signing_subject(context), time=time.time())
        click.echo(str(write_signature(context.run, signature)), err=True)
    found = standing_of(context)
    if as_json:
        print_json(_as_json(found))
    else:
        _print(found)
    return int(exit_code(found.verdict))


def _require_signer(context: RunContext, person: str) -> None:
    from sextant_components.deployment.sign_off import required_signers
    from sextant_plan.errors import UsageError
    from sextant_plan.fault import choose

    signers = required_signers(context) or list(context.plan.owner.approvers)
    if person not in signers:
        raise UsageError(f"--as {person}: the plan does not name this person to sign. {choose(person, signers)}.")


def _print(found: Standing) -> None:
    for person, signature in found.valid.items():
        click.echo(f"signed   {person}: {signature.subject.verdict}, bundle {signature.subject.bundle[:19]}")
    for person, changed in found.void.items():
        click.echo(f"void     {person}: changed since: {', '.join(changed)}")
    for person in found.missing:
        click.echo(f"missing  {person}")
    if not (found.valid or found.void or found.missing):
        click.echo("no signature, and the plan requires none")


def _as_json(found: Standing) -> dict[str, object]:
    return {
        "verdict": str(found.verdict),
        "valid": {person: signature.model_dump(mode="json") for person, signature in found.valid.items()},
        "void": found.void,
        "missing": found.missing,
    }
