"""How a module that is run by `python -m` ends: errors of ours are one sentence, and the exit code says their kind."""

from __future__ import annotations

import click

from sextant_plan.errors import ExitCode, SextantError


def exit_code_of(command: click.Command, module: str) -> int:
    """Run a command on the process's arguments and return its exit code; `module` is the name that its help shows."""
    try:
        return int(command.main(prog_name=f"python -m {module}", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return int(ExitCode.USAGE)
    except SextantError as error:
        click.echo(str(error), err=True)
        return int(error.exit_code)
