"""How the model is served, and what it does when it cannot answer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from sextant_plan.schema.closed import Closed
from sextant_plan.types import DAY, Duration, Entrypoint, Share


class Hardware(Closed):
    cpu: float = Field(default=1.0, gt=0)
    memory: str = Field(default="2Gi", pattern=r"^\d+(Mi|Gi)$")
    gpu: int = Field(default=0, ge=0)


class Batching(Closed):
    """When a batch leaves: at `max_rows`, when no other client is expected, or once a request has waited `max_wait`.

    A device that was busy first waits, for at most an eighth of a batch's time, for those whom it has just answered.
    `queue_rows` may wait, none longer than `deadline`. With `sizes` a batch is filled up with blank rows to the next
    of them, for engines that are slow on a size they have not seen; without, it has the rows it has.
    """

    max_rows: int = Field(default=32, ge=1, le=1024)
    max_wait: Duration = 0.002
    queue_rows: int = Field(default=512, ge=1)
    deadline: Duration = 2.0
    sizes: list[int] = []

    @model_validator(mode="after")
    def _sizes_rise_to_max_rows(self) -> Batching:
        rising = sorted(set(self.sizes)) == self.sizes
        if self.sizes and not (rising and self.sizes[0] >= 1 and self.sizes[-1] == self.max_rows):
            raise ValueError("sizes are rising numbers of rows of which the last is max_rows")
        return self


class Fallback(Closed):
    """What is answered when the model should not: below the confidence, on unusual inputs, or without its features.

    With `abstain_outside` the model abstains on a row of which a number, the brightness or the contrast lies further
    outside the range of the training rows than this share of the range. Where the network fails, or its answer is no
    number, those named in `engine_failure` answer in turn: the version that was in service before, if it reads and
    answers the same, and `baseline`, the classes' shares or the median of the training rows. Without one of them the
    request fails with 500. A previous version is kept loaded and takes its memory. It is known where the server follows
    a home or is given `--previous-bundle`; a pod of KServe's has one bundle alone, and there it is passed over.
    """

    abstain_below: Share = 0.0
    abstain_outside: float | None = Field(default=None, ge=0)
    missing_features: Literal["reject", "default", "abstain"] = "default"
    engine_failure: list[Literal["previous-version", "baseline"]] = []

    @field_validator("engine_failure")
    @classmethod
    def _names_each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("each answers once; name it once")
        return value


class PredictionLog(Closed):
    """What the server writes down of its predictions, so that labels can be joined to them later.

    `sample` is the share of requests; files older than `keep` go, and the oldest beyond `max_megabytes`. Of the
    inputs it keeps those named in `columns` as they were read, those in `hashed` as a keyed digest, and no other;
    pictures never. With `pictures` it keeps four numbers of each: how dark, bright, varied and sharp it is.
    """

    sample: Share = 0.0
    keep: Duration = 30 * DAY
    max_megabytes: int = Field(default=1024, ge=1)
    columns: list[str] = []
    hashed: list[str] = []
    pictures: bool = False


class Serving(Closed):
    hardware: Hardware = Hardware()
    latency_slo_ms: float = Field(default=100.0, gt=0)
    batching: Batching = Batching()
    fallback: Fallback = Fallback()
    attachment: Entrypoint | None = None
    log: PredictionLog = PredictionLog()
