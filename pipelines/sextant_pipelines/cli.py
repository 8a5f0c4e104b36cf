"""The `sextant` command: subcommands that load when they are called, and one place where errors become exits.

Data goes to standard output, progress and messages to standard error. Importing this module loads click alone.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from sextant_plan import __version__
from sextant_plan.errors import ExitCode, SextantError

INTERRUPTED = 130  # what a shell expects of a command that was stopped by SIGINT

# Subcommand: its one-line help, kept here so that `sextant --help` loads none of them.
COMMANDS = {
    "init": "Write a plan for a folder of pictures or a table.",
    "check": "Check a plan: every fault with its line and remedy.",
    "run": "Run a plan's whole life cycle on this machine, or its retraining, or a monitoring pass.",
    "submit": "Run a pipeline on Kubeflow Pipelines, once or by a schedule.",
    "report": "Show the verdicts of a run and where its dossier lies.",
    "label": "Have people look at doubtful labels, by Label Studio, and take their decisions back.",
    "amend": "Write into a changed plan what it amends, who changed it and why.",
    "override": "Let a criterion pass for a time, under a person's name and with a reason.",
    "review": "Look at the errors that a run's model was surest of, and say what they are.",
    "sign": "Sign a run's verdict, or show whose signatures hold.",
    "promote": "Promote the version of a run that waited for its signatures.",
    "rollout": "Let a staged version take over step by step, on proof from real requests.",
    "export": "Write the model for a browser, as a Python package, or for a small device.",
    "serve": "Serve the model in service, or one bundle.",
    "predict": "Ask a running server for predictions.",
    "watch": "Watch a running server by a plan's rules.",
    "logs": "Bring what servers logged to an object store.",
    "drill": "Rehearse failures: cause one, measure until it is noticed and until it is over.",
    "features": "Load changed features into the online store, between two runs.",
    "backup": "Back up a home, verify a backup, restore it.",
    "trigger": "Retrain when Alertmanager says so, by the plan's policy.",
    "render": "Write what a cluster or a monitor needs: pipeline, components, rules, dashboard.",
    "doctor": "Check this machine: Python, packages, disk, memory, state.",
}


class LazyGroup(click.Group):
    """A group whose subcommands are modules of `sextant_pipelines.commands`, imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the subcommands in the order in which a reader needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a subcommand, or None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"sextant_pipelines.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the subcommands from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="sextant")
def sextant() -> None:
    """Run the life cycle of a model from one plan, with every gate bound to evidence.

    \b
    Exit codes: 0 passed, 1 a gate failed, 2 usage or plan error, 3 a gate is unknown, 4 infrastructure.
    A typical beginning:  sextant init DATA  ->  sextant check plan.yaml  ->  sextant run plan.yaml
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; no error leaves this function as a traceback.

    `SEXTANT_TRACE=1` lets every exception through, for whoever debugs Sextant itself.
    """
    try:
        result = sextant.main(args=arguments, prog_name="sextant", standalone_mode=False)
        return int(result) if isinstance(result, int) else 0
    except click.exceptions.Abort:
        return _interrupted()
    except KeyboardInterrupt:
        return _interrupted()
    except click.ClickException as error:
        error.show()
        return int(ExitCode.USAGE)
    except SextantError as error:
        if _traced():
            raise
        click.echo(str(error), err=True)
        return int(error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone, such as `| head`; a second complaint at exit helps nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.OK)
    except OSError as error:
        if _traced() or error.filename is None or error.strerror is None:
            return _unforeseen(error)
        remedy = "Free the path, or name a folder that you may write to."
        click.echo(f"{error.filename}: {error.strerror.lower()}. {remedy}", err=True)
        return int(ExitCode.INFRASTRUCTURE)
    except Exception as error:
        return _unforeseen(error)


def _unforeseen(error: Exception) -> int:
    """Tell an error that nobody put into words: its first line, and where its trace lies."""
    if _traced():
        raise error
    first_line = str(error).partition("\n")[0]
    where = f"The trace is in {_write_trace()}; SEXTANT_TRACE=1 shows it."
    click.echo(f"{type(error).__name__}: {first_line}. {where}", err=True)
    return int(ExitCode.INFRASTRUCTURE)


def _traced() -> bool:
    return os.environ.get("SEXTANT_TRACE") == "1"


def _interrupted() -> int:
    click.echo("interrupted", err=True)
    return INTERRUPTED


def _write_trace() -> Path:
    with tempfile.NamedTemporaryFile("w", prefix="sextant-trace-", suffix=".txt", delete=False) as file:
        file.write(traceback.format_exc())
    return Path(file.name)


if __name__ == "__main__":
    raise SystemExit(main())
