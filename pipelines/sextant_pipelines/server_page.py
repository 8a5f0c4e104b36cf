"""The reference of the server's options, from its own parser."""

from __future__ import annotations

import argparse

from sextant_pipelines.commands.serve import command
from sextant_serving.options import options_parser


def server_page() -> str:
    """Return the page in Markdown: a table of the options, with those that `sextant serve` takes before `--`."""
    lines = [
        "# Every option of the server",
        "",
        "Generated from the server's own parser by `make generate`; `python -m sextant_serving --help` says the same.",
        "An option without a mark goes to `sextant serve` after `--`: `sextant serve -- --threads 2`. What they mean",
        "together: [serving API](serving-api.md).",
        "",
        "| option | `sextant serve` | |",
        "|---|---|---|",
    ]
    own = {name for option in command.params for name in option.opts}
    return "\n".join([*lines, *(_row(action, own) for action in _options(options_parser()))]) + "\n"


def _options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]


def _row(action: argparse.Action, own: set[str]) -> str:
    (name,) = action.option_strings
    given = action.metavar or ("|".join(action.choices) if action.choices else action.dest.rpartition("_")[2].upper())
    text = (action.help or "") % {**vars(action)}
    written = f"{name} {given}".replace("|", r"\|")
    return f"| `{written}` | {'yes' if name in own else ''} | {text} |"
