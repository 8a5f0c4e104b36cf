"""The reference of every command and option, from the command line's own definitions."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from sextant_pipelines.cli import sextant


def commands_page() -> str:
    """Return the page in Markdown: a section a command, with its usage, its help and a table of its options."""
    lines = [
        "# Every command and option",
        "",
        "Generated from the command line's own definitions by `make generate`; `sextant COMMAND --help` says the same.",
        "[The `sextant` command](cli.md) tells which to use when, and how each exits.",
    ]
    context = click.Context(sextant, info_name="sextant")
    for name, command in _commands(sextant, context):
        lines += ["", *_section(name, command)]
    return "\n".join(lines) + "\n"


def _commands(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something with its full name, in the order of `--help`."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, click.Context(command, info_name=name, parent=context))
        else:
            yield f"{context.command_path} {name}", command


def _section(name: str, command: click.Command) -> Iterator[str]:
    own = click.Context(command, info_name=name)
    yield from (f"## {name}", "", "```text", f"{name} {' '.join(command.collect_usage_pieces(own))}", "```", "")
    yield inspect.cleandoc(command.help or "").replace("\b\n", "")
    rows = [_row(option, own) for option in command.params if isinstance(option, click.Option) and not option.hidden]
    if rows:
        yield from ("", "| option | |", "|---|---|", *rows)


def _row(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    assert record is not None
    names, text = (part.replace("|", r"\|") for part in record)
    return f"| `{names}` | {text} |"
