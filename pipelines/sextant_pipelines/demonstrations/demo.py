"""A whole life cycle on generated data, then real requests to the real server.

`python -m sextant_pipelines.demonstrations.demo digits` or `parcels`, from a folder that holds `examples/`.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from sextant_pipelines.commands.predict import write_files
from sextant_pipelines.criteria import criterion_results
from sextant_pipelines.demonstrations.module_command import exit_code_of
from sextant_pipelines.local import prepare_run, run_locally
from sextant_pipelines.options import home_option
from sextant_pipelines.predictions import PROTOCOLS, Prediction, Row, predict
from sextant_plan.bundle import BundleSpec, read_bundle
from sextant_plan.errors import ExitCode, InfrastructureError
from sextant_plan.schema import Plan

SHOWN_ROWS = 3


@dataclass(frozen=True)
class Example:
    """One labelled row of the example's own table, as a client would send it."""

    row: Row
    label: str


@click.command("demo")
@click.argument("name", type=click.Choice(["digits", "parcels"]))
@click.option(
    "--examples",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("examples"),
    show_default=True,
    help="Folder of the example plans.",
)
@home_option
def command(name: str, examples: Path, home: Path) -> int:
    """Generate the data, run the plan, serve the model, ask it, and say what to do next."""
    began = time.monotonic()
    plan_path = examples / name / "plan.yaml"
    _generate(name, examples / name / "data")
    context = prepare_run(plan_path, home, None)
    click.echo(f"run {context.run_id}, plan {context.plan_hash[:19]}, log {context.run / 'run.log'}", err=True)
    outcome = run_locally(context, sys.stderr)
    for result in criterion_results(context):
        click.echo(result.line)
    code = outcome.code
    if outcome.cause:
        click.echo(outcome.cause, err=True)
    if code is ExitCode.OK:
        code = _ask_server(home, context.plan, context.data_root, context.run / "demo")
    click.echo(f"\ndossier  {outcome.dossier or 'could not be written; see run.log'}")
    click.echo(f"next     sextant serve --home {home}, then sextant predict PICTURE; sextant report --home {home}")
    click.echo(f"time     {time.monotonic() - began:.0f} s, exit {int(code)}")
    return int(code)


def _generate(name: str, out: Path) -> None:
    click.echo(f"generating {out}", err=True)
    # The generator's progress and its errors go to our standard error as they come.
    made = subprocess.run(
        [sys.executable, "-m", f"sextant_examples.{name}", str(out)], stdout=subprocess.DEVNULL, check=False
    )
    if made.returncode:
        raise InfrastructureError(f"{out}: the generator failed, as said above. Is the folder writable?")


def _ask_server(home: Path, plan: Plan, data_root: Path, out: Path) -> ExitCode:
    """Send the same rows by all four protocols; the demonstration fails if two of them answer differently."""
    from sextant_serving.home import served_model
    from sextant_serving.launch import running_server

    spec = read_bundle(Path(served_model(home).bundle))
    examples = list(_examples(plan, data_root, spec))
    with running_server(home=home) as server, server.client() as client:
        click.echo(f"\nserver {server.url}, model {server.model}")
        answers: dict[str, list[Prediction]] = {}
        for protocol in PROTOCOLS:
            files = spec.serving.attachment is not None and protocol in {"v1", "picture"}
            answers[protocol] = predict(client, [example.row for example in examples], protocol, attachments=files)
            _show(protocol, examples, answers[protocol])
        for index, answer in enumerate(answers["v1"]):
            if answer.attachments:
                paths = write_files(out / str(index), answer.attachments)
                click.echo("label    " + ", ".join(map(str, paths)))
    labels = {tuple(answer.label for answer in found) for found in answers.values()}
    if len(labels) > 1:
        click.echo("the protocols disagree on the same rows", err=True)
        return ExitCode.GATE_FAILED
    return ExitCode.OK


def _show(protocol: str, examples: list[Example], answers: list[Prediction]) -> None:
    for example, answer in zip(examples, answers, strict=True):
        click.echo(f"{protocol:10} true {example.label:12} answer {answer.line}")


def _examples(plan: Plan, data_root: Path, spec: BundleSpec) -> Iterator[Example]:
    """Yield the first row of each of the first classes, with what a request to this bundle carries."""
    assert plan.data.table is not None
    sent = [column.name for column in spec.columns if column.view is None]
    sent += [spec.entity] if spec.entity else []
    seen: set[str] = set()
    with (data_root / plan.data.table).open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            label = line[plan.data.label]
            if label in seen or not label:
                continue
            seen.add(label)
            picture = (data_root / plan.data.images / line[plan.data.image]).read_bytes() if plan.data.images else None
            yield Example(Row(picture, {name: line[name] or None for name in sent}), label)
            if len(seen) == SHOWN_ROWS:
                return


if __name__ == "__main__":
    raise SystemExit(exit_code_of(command, "sextant_pipelines.demonstrations.demo"))
