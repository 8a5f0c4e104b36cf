"""`sextant init`: from data to a first plan."""

from __future__ import annotations

from pathlib import Path

import click

from sextant_pipelines.options import json_option, print_json


@click.command("init")
@click.argument("data", metavar="FOLDER_OR_TABLE", type=click.Path(path_type=Path, exists=True))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("plan.yaml"),
    show_default=True,
    help="Plan file to write.",
)
@click.option("--label", help="Column with the label. Default: label, target, class, y, category, or the last one.")
@click.option(
    "--confirm-licence",
    "licence",
    metavar="NAME",
    help="You confirm that this licence, such as CC-BY-4.0, allows training. Default: the plan says unconfirmed.",
)
@click.option("--force", is_flag=True, help="Replace the plan file if it exists.")
@json_option
def command(*, data: Path, output: Path, label: str | None, licence: str | None, force: bool, as_json: bool) -> int:
    """Look at the data and write a commented plan that passes `sextant check`.

    FOLDER_OR_TABLE is a folder with one subfolder of pictures a class, a folder with one table (and pictures
    that a column names), or a .csv or .parquet table.
    """
    from sextant_pipelines.inspection import inspect
    from sextant_pipelines.plan_writer import sealed_rows, write_plan
    from sextant_plan.errors import UsageError

    if output.exists() and not force:
        raise UsageError(f"{output}: the file exists. Choose another with -o, or replace it with --force.")
    found = inspect(data, label)
    text = write_plan(found, output.resolve().parent, licence)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    if as_json:
        classes = found.classes if found.number is None else {}
        print_json({"plan": str(output), "rows": found.rows, "classes": classes, "label": found.label})
        return 0
    kind = f"of {len(found.classes)} classes" if found.number is None else f"with a number as {found.label}"
    click.echo(f"{output}: {found.rows} rows {kind}, about {sealed_rows(found)} of them sealed")
    if licence is None:
        click.echo(
            "confirm the licence in data.licence before you run it (or write it again with --confirm-licence NAME)",
            err=True,
        )
    click.echo(f"next: sextant check {output}", err=True)
    return 0
