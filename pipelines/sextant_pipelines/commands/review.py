"""`sextant review`: an expert looks at the errors that a model was surest of, or at what its answers rest on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from sextant_pipelines.options import json_option, print_json
from sextant_plan.errors import UsageError

if TYPE_CHECKING:
    from sextant_components.evaluation.expert_review import Waiting

QUEUES = ("errors", "attributions")
FINDINGS = ("model-wrong", "label-wrong", "sound", "spurious", "undecidable", "unacceptable")


@click.command("review")
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--of",
    "kind",
    type=click.Choice(QUEUES),
    default="errors",
    show_default=True,
    help="errors: answers that were wrong and sure; attributions: what answers to validation rows rest on.",
)
@click.option("--as", "person", metavar="NAME", help="Who reviews. Default: nobody; the queue is shown.")
@click.option("--row", "row_id", type=int, metavar="ROW", help="The row that was looked at.")
@click.option(
    "--finding",
    type=click.Choice(FINDINGS),
    help="Of errors: model-wrong, an error to live with; label-wrong. Of attributions: sound, the answer rests on what "
    "it should; spurious, on what it should not. Of both: undecidable, a person cannot tell; unacceptable, it must not "
    "reach users.",
)
@click.option("--remark", default="", metavar="TEXT", help="What the next reader should know.")
@json_option
def command(
    run_dir: Path, kind: str, person: str | None, row_id: int | None, finding: str | None, *, remark: str, as_json: bool
) -> int:
    """Show the errors that RUN's model was surest of, or its attributions, or write down what a person found in one.

    Where the plan names evaluation.experts or model.attributions, a version is promoted only when every row of the
    queue was looked at and none is unacceptable. Exits 0 then, 3 while rows wait, 1 for an unacceptable one.
    """
    from sextant_components.closing.later import record_answers
    from sextant_components.evaluation.expert_review import queue_of, review
    from sextant_components.runs.context import open_run
    from sextant_plan.reviews import Finding, Queue
    from sextant_plan.verdicts import exit_code

    given = {"--as": person, "--row": row_id, "--finding": finding}
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        raise UsageError(f"{' and '.join(missing)} missing: a review names a person, a row and a finding.")
    context = open_run(str(run_dir))
    of: Queue = next(each for each in get_args(Queue) if each == kind)
    if person is None or row_id is None or finding is None:
        queue = queue_of(context, of)
    else:
        chosen: Finding = next(each for each in get_args(Finding) if each == finding)
        queue = review(context, person=person, row_id=row_id, finding=chosen, remark=remark, kind=of)
        record_answers(context)
    if as_json:
        print_json(
            {
                "verdict": str(queue.verdict),
                "bundle": queue.bundle,
                queue.kind: queue.rows,
                "reviews": [each.model_dump(mode="json") for each in queue.reviews],
                "open": queue.open_rows,
            }
        )
    else:
        _print(queue)
    return int(exit_code(queue.verdict))


def _print(queue: Waiting) -> None:
    said = {review.row_id: review for review in queue.reviews}
    for row in queue.rows:
        review = said.get(row["row_id"])
        state = f"{review.finding}, {review.person}" if review else "open"
        click.echo(f"row {row['row_id']:<8} {_answer(row):40} {state}")
    click.echo(f"{len(queue.open_rows)} of {len(queue.rows)} {queue.kind} wait for a review", err=True)


def _answer(row: dict[str, Any]) -> str:
    sure = f" at {row['probability']:.3f}" if "probability" in row else ""
    if "predicted" in row:
        return f"{row['label']} taken for {row['predicted']}{sure}"
    rests = f", on {row['rests_on']}" if "rests_on" in row else ""
    return f"{row['label']} answered {row['answer']}{sure}{rests}"
