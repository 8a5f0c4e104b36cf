"""What the sealed rows are put through."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sextant_plan.schema.closed import Closed
from sextant_plan.types import Duration


class Explanation(Closed):
    """The explanation that users are promised, and how long one may take.

    `integrated-gradients` needs a network's gradients (Sundararajan et al. 2017); the others ask any engine.
    """

    method: Literal["occlusion", "permutation", "integrated-gradients"]
    budget: Duration = 1.0


CorruptionName = Literal[
    "noise", "shot", "speckle", "impulse", "blur", "defocus", "motion", "glass", "zoom", "dark", "bright", "contrast",
    "saturate", "fog", "snow", "frost", "spatter", "elastic", "occlusion", "pixelate", "jpeg",
]  # fmt: skip


class Attack(Closed):
    """Changes of the input chosen against the model, in `steps` along the trained network's gradients.

    No pixel changes by more than `pixels` of 255, no column by more than `deviations` of its training deviation. `rows`
    of the sealed ones are attacked.
    """

    pixels: int = Field(default=4, ge=1, le=255)
    deviations: float = Field(default=0.1, gt=0)
    steps: int = Field(default=10, ge=1, le=1000)
    rows: int = Field(default=300, ge=1)


class Experts(Closed):
    """Who has to look at the wrong answers that the model was surest of, before it is promoted."""

    reviewers: list[str] = Field(min_length=1)
    errors: int = Field(default=12, ge=1)


class Staleness(Closed):
    """How accuracy falls with age: a model is fitted on the oldest rows and asked of `windows` later spans of time.

    The model is due for retraining at the age at which it has lost `tolerated_loss` of its accuracy; where the
    label is a number, at which its mean absolute error has grown by so many standard deviations of the label.
    """

    windows: int = Field(default=5, ge=3, le=50)
    tolerated_loss: float = Field(default=0.02, gt=0, lt=1)


class Evaluation(Closed):
    """How the model is judged; `split_by: time` seals the newest rows of all, so that it is tested on the future."""

    split_by: Literal["content", "time"] = "content"
    sealed_split: float = Field(default=0.2, gt=0, lt=0.9)
    valid_split: float = Field(default=0.15, gt=0, lt=0.9)
    looks: int = Field(default=5, ge=1)
    slices: list[str] = []
    corruptions: list[CorruptionName] = []
    attack: Attack | None = None
    explanation: Explanation | None = None
    experts: Experts | None = None
    staleness: Staleness | None = None
    latency_requests: int = Field(default=300, ge=1)
