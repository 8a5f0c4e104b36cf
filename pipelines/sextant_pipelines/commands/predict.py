"""`sextant predict`: ask a running server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from sextant_pipelines.options import json_option, print_json
from sextant_plan.errors import UsageError

PROTOCOLS = ("v1", "v2", "v2-binary", "picture")


@click.command("predict")
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="Address of the server.")
@click.option("--model", help="Name of the model. Default: the first one that the server lists.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A column or the key, for every row; repeatable."
)
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    default="v1",
    show_default=True,
    help="How the rows travel: JSON of v1 or v2, binary tensors of v2, or each picture as the body.",
)
@click.option(
    "--attachments",
    type=click.Path(path_type=Path, file_okay=False),
    help="Ask for the files that come with an answer, such as a label to print, and write them here.",
)
@click.option("--timeout", type=click.FloatRange(min=0.1), default=30.0, show_default=True, help="Seconds to wait.")
@json_option
def command(
    *,
    source: Path,
    url: str,
    model: str | None,
    settings: tuple[str, ...],
    protocol: str,
    attachments: Path | None,
    timeout: float,
    as_json: bool,
) -> int:
    """Predict the rows of FILE: a .png or .jpg picture, a .json file of instances, or a .csv or .parquet table.

    Prints one line a row: label, probability, prediction id. Columns of a table that the model does not read,
    such as its label, are left out with a note. Exits 2 if the server refuses the rows, 4 if it cannot be reached.
    """
    from sextant_pipelines.predictions import TABLES, fit_table, predict, read_rows
    from sextant_serving.client import Client

    asked = dict(_setting(text) for text in settings)
    rows = read_rows(source, asked)
    with Client(url, model, timeout=timeout) as client:
        if source.suffix.lower() in TABLES:
            rows, note = fit_table(client, source, rows, asked)
            if note:
                click.echo(f"{source}: {note}", err=True)
        answers = predict(client, rows, protocol, attachments=attachments is not None)
    if as_json:
        print_json([answer.as_json() for answer in answers])
    else:
        for answer in answers:
            click.echo(answer.line)
    if attachments is not None:
        for index, answer in enumerate(answers):
            folder = attachments / str(index) if len(answers) > 1 else attachments
            for path in write_files(folder, answer.attachments):
                click.echo(str(path), err=True)
    return 0


def write_files(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files by their bare names, so that no name leaves the folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, data in files.items():
        path = folder / Path(name).name
        path.write_bytes(data)
        paths.append(path)
    return paths


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"--set {text}: write NAME=VALUE, such as --set parcel_id=P-1.")
    return name, value
