"""`sextant review`: an expert looks at the errors that a model was surest of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from sextant_pipelines.options import json_option, print_json
from sextant_plan.errors import UsageError

if TYPE_CHECKING:
    from sextant_components.expert_review import Queue

FINDINGS = ("model-wrong", "label-wrong", "undecidable", "unacceptable")


@click.command("review")
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--as", "person", metavar="NAME", help="Who reviews. Default: nobody; the queue is shown.")
@click.option("--row", "row_id", type=int, metavar="ROW", help="The row that was looked at.")
@click.option(
    "--finding",
    type=click.Choice(FINDINGS),
    help="model-wrong: an error to live with; label-wrong; undecidable: a person could not tell either; "
    "unacceptable: an error that must not reach users.",
)
@click.option("--remark", default="", metavar="TEXT", help="What the next reader should know.")
@json_option
def command(
    run_dir: Path, person: str | None, row_id: int | None, finding: str | None, *, remark: str, as_json: bool
) -> int:
    """Show the errors that RUN's model was surest of, or write down what a person found in one.

    Where the plan names evaluation.experts, a version is promoted only when every error of the queue was looked at and
    none is unacceptable. Exits 0 then, 3 while errors wait, 1 for an unacceptable one.
    """
    from sextant_components.context import open_run
    from sextant_components.expert_review import queue_of, review
    from sextant_plan.reviews import Finding
    from sextant_plan.verdicts import exit_code

    given = {"--as": person, "--row": row_id, "--finding": finding}
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        raise UsageError(f"{' and '.join(missing)} missing: a review names a person, a row and a finding.")
    context = open_run(str(run_dir))
    if person is None or row_id is None or finding is None:
        queue = queue_of(context)
    else:
        chosen: Finding = next(each for each in get_args(Finding) if each == finding)
        queue = review(context, person=person, row_id=row_id, finding=chosen, remark=remark)
    if as_json:
        print_json(
            {
                "verdict": str(queue.verdict),
                "bundle": queue.bundle,
                "errors": queue.errors,
                "reviews": [each.model_dump(mode="json") for each in queue.reviews],
                "open": queue.open_rows,
            }
        )
    else:
        _print(queue)
    return int(exit_code(queue.verdict))


def _print(queue: Queue) -> None:
    said = {review.row_id: review for review in queue.reviews}
    for error in queue.errors:
        review = said.get(error["row_id"])
        state = f"{review.finding}, {review.person}" if review else "open"
        answer = f"{error['label']} taken for {error['predicted']} at {error['probability']:.3f}"
        click.echo(f"row {error['row_id']:<8} {answer:40} {state}")
    click.echo(f"{len(queue.open_rows)} of {len(queue.errors)} errors wait for a review", err=True)
