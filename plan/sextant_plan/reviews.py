"""Reviews: what an expert found in a model's surest errors, and in what its answers rest on.

Each is a write-once file below the run, `reviews/{hex}.json`, named by the digest of its contents. It is about one row
of one of a bundle's two queues; another bundle's queue begins with none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from sextant_plan.canonical import canonical_json, digest_of
from sextant_plan.errors import InfrastructureError
from sextant_plan.files import write_atomically
from sextant_plan.schema import Closed

FOLDER = "reviews"
Queue = Literal["errors", "attributions"]
Finding = Literal["model-wrong", "label-wrong", "sound", "spurious", "undecidable", "unacceptable"]
FINDINGS: dict[Queue, tuple[Finding, ...]] = {
    "errors": ("model-wrong", "label-wrong", "undecidable", "unacceptable"),
    "attributions": ("sound", "spurious", "undecidable", "unacceptable"),
}


class Review(Closed):
    """The contents of a review file. `unacceptable` must not reach users: it stops the promotion.

    An attribution is `sound` if the answer rests on what it should, `spurious` if on what it should not. `time` is in
    Unix seconds, `bundle` the digest of the bundle that gave the answer.
    """

    schema_version: Literal[1] = 1
    queue: Queue = "errors"
    row_id: int
    bundle: str
    person: str = Field(min_length=1)
    finding: Finding
    remark: str = ""
    time: float


def write_review(run: Path, review: Review) -> Path:
    """Write a review beside those that are there."""
    name = digest_of(review.model_dump(mode="json"))
    path = run / FOLDER / f"{name.removeprefix('sha256:')}.json"
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, canonical_json(review.model_dump(mode="json")))
    return path


def read_reviews(run: Path, *, bundle: str, queue: Queue) -> list[Review]:
    """Return the reviews of a bundle's queue, the oldest first. Raises InfrastructureError for a file that is none."""
    found = []
    for path in sorted((run / FOLDER).glob("*.json")):
        try:
            found.append(Review.model_validate_json(path.read_bytes()))
        except ValidationError as error:
            raise InfrastructureError(f"{path}: not a review. Remove the file and review the row again.") from error
    own = (review for review in found if (review.bundle, review.queue) == (bundle, queue))
    return sorted(own, key=lambda each: each.time)


def outstanding(queue: Sequence[int], reviews: Iterable[Review]) -> list[int]:
    """Return the rows of a queue that nobody has reviewed, in the queue's order."""
    done = {review.row_id for review in reviews}
    return [row for row in queue if row not in done]


def refused(reviews: Iterable[Review]) -> dict[int, Review]:
    """Return by row the last reviews that call a row unacceptable; a later one of the same person takes it back."""
    last: dict[tuple[int, str], Review] = {}
    for review in reviews:
        last[review.row_id, review.person] = review
    return {row: review for (row, _), review in last.items() if review.finding == "unacceptable"}
