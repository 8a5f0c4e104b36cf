"""`sextant label`: the rows that a person should look at, out to Label Studio and back as corrections."""

from __future__ import annotations

from pathlib import Path

import click

from sextant_pipelines.options import home_option, json_option, print_json


@click.group("label")
def command() -> None:
    """Have people look at the rows whose labels are in doubt, and take their decisions back.

    \b
    sextant label queue RUN --out tasks.json  ->  Label Studio  ->  sextant label import export.json --plan plan.yaml
    """


@command.command("queue")
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File of tasks to write.")
@click.option("--limit", type=click.IntRange(min=1), help="Rows to write at most. Default: the whole queue.")
@click.option(
    "--pictures-at",
    metavar="URL",
    help="Where Label Studio finds the pictures, by their file names. Default: pictures are embedded in the tasks.",
)
@click.option("--blind", is_flag=True, help="Suggest no label: Label Studio would have it chosen already.")
@json_option
def queue(run_dir: Path, out: Path, limit: int | None, pictures_at: str | None, *, blind: bool, as_json: bool) -> int:
    """Write RUN's label queue as a file that Label Studio imports, and its labelling page beside it as .xml.

    Suspect labels come first, then rows on which the raters disagree, then those that the model is least sure of.
    """
    from sextant_components.data.label_studio import write_tasks
    from sextant_components.runs.context import open_run

    found = write_tasks(open_run(str(run_dir)), out, limit=limit, pictures_at=pictures_at, blind=blind)
    if as_json:
        print_json({"tasks": str(out), "page": str(out.with_suffix(".xml")), **vars(found)})
        return 0
    click.echo(f"{found.written} rows in {out}, the labelling page in {out.with_suffix('.xml')}")
    if found.gone:
        click.echo(f"{found.gone} rows of the queue are no longer in the source", err=True)
    return 0


@command.command("import")
@click.argument("export", metavar="EXPORT", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--plan", "plan_path", type=click.Path(path_type=Path, dir_okay=False, exists=True), required=True, help="The plan."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of corrections to append to. Default: data.corrections of the plan.",
)
@click.option(
    "--people",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Label Studio's answer at /api/users, for the people's addresses. Default: an author is named by number, "
    "where the export has no more.",
)
@home_option
@json_option
def import_(export: Path, plan_path: Path, out: Path | None, people: Path | None, home: Path, *, as_json: bool) -> int:
    """Append the decisions of EXPORT, Label Studio's JSON export, to the plan's corrections.

    No line that is there is changed. Of one person's annotations of a row the last counts; a row on which people
    disagree is named and left alone. Exits 2 for a row or a label that the data does not have; then nothing is
    written.
    """
    from sextant_components.data.label_answers import import_export, read_people
    from sextant_components.data.remote_sources import fetch_source
    from sextant_components.runs.source_folder import source_root
    from sextant_plan.loading import load_plan

    plan = load_plan(plan_path)
    fetch_source(plan, home)
    root = source_root(plan, plan_path.resolve().parent, home)
    target = out or _corrections_of(plan.data.source, plan.data.corrections, root)
    found = import_export(export, plan, root, target, home, people=read_people(people) if people else {})
    if as_json:
        print_json({"corrections": str(target), **vars(found)})
        return 0
    click.echo(f"{found.added} corrections added to {target}, {found.known} known before")
    for key in found.disputed:
        click.echo(f"disputed {key}: the annotations differ, so none was taken", err=True)
    return 0


def _corrections_of(source: str, corrections: str | None, root: Path) -> Path:
    from sextant_components.runs.source_folder import is_remote
    from sextant_plan.errors import UsageError

    if corrections is None:
        raise UsageError("the plan names no corrections. Add data.corrections: corrections.jsonl, or give --out FILE.")
    if is_remote(source):
        raise UsageError(f"{source} cannot be appended to. Give --out FILE, and put it there yourself.")
    return root / corrections
