"""What is learned, from which inputs, by which candidates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sextant_plan.catalogue import Answers
from sextant_plan.schema.closed import Closed


class ImageInput(Closed):
    """The picture as the model takes it: height and width in pixels, 1 (grey) or 3 (RGB) channels.

    `denoise: median` takes the median of each 3 x 3 pixels, in training as in serving.
    """

    height: int = Field(ge=8, le=512)
    width: int = Field(ge=8, le=512)
    channels: Literal[1, 3] = 3
    denoise: Literal["none", "median"] = "none"


class Inputs(Closed):
    """What the model reads: the picture, columns sent with the request, and features of the store."""

    image: ImageInput | None = None
    columns: list[str] = []
    features: list[str] = []

    @model_validator(mode="after")
    def _not_empty(self) -> Inputs:
        if self.image is None and not self.columns and not self.features:
            raise ValueError("a model needs an image, columns or features")
        return self


class Candidate(Closed):
    """What competes, why it is worth a try, and where that is known from (a paper, a page, an earlier run)."""

    architecture: str
    params: dict[str, int | float | str | bool] = {}
    why: str = ""
    sources: list[str] = []


class PassedOver(Closed):
    """What was considered and does not compete."""

    name: str = Field(min_length=1)
    why_not: str = Field(min_length=1)
    sources: list[str] = []


class Span(Closed):
    """What one parameter may be: from `low` to `high`, on a log scale where both are above 0, or one of `choices`."""

    low: int | float | None = None
    high: int | float | None = None
    choices: list[int | float | str | bool] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_way(self) -> Span:
        if (self.choices is None) == (self.low is None or self.high is None):
            raise ValueError("give low and high, or choices")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) is not below high ({self.high:g})")
        return self


class Search(Closed):
    """The tuning budget: trials over the candidates and over these [low, high] ranges, on a log scale.

    `vary` adds parameters of an architecture, such as `small-cnn: {width: {low: 8, high: 64}}`. So many `processes` of
    this machine share the trials.
    """

    trials: int = Field(default=4, ge=1)
    learning_rate: tuple[float, float] = (3e-4, 1e-2)
    weight_decay: tuple[float, float] = (1e-6, 1e-2)
    vary: dict[str, dict[str, Span]] = {}
    processes: int = Field(default=1, ge=1, le=64)


Augmentation = Literal["light", "shift", "turn", "mirror", "blur", "erase"]
"""A way in which training pictures are changed at random; see `sextant_components.modelling.augmentation`."""

EngineName = Literal[
    "torch-safetensors",
    "torch-channels-last",
    "torch-bf16",
    "torch-cuda-graphs",
    "torch-cuda-graphs-bf16",
    "torch-compile",
    "aot-inductor",
    "onnx",
    "openvino",
]
ExportName = Literal["edge", "package"]
MEASURED_ONLY = frozenset({"torch-compile", "aot-inductor"})  # they hold machine code, which no bundle does


class Training(Closed):
    """How networks are fitted, on whatever device there is; trees have their own ways and read none of it.

    `bfloat16` multiplies in half precision and keeps weights and loss in float32. `patience` stops a fit after so many
    epochs without a better one. `checkpoint_steps` writes a checkpoint after so many steps, besides that of each epoch.
    `balanced` weighs each class by the inverse of its frequency. Without `deterministic` a fit may use every core and
    the fastest kernels, and the same seed need not give the same weights.
    """

    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    clip_norm: float | None = Field(default=None, gt=0)
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    class_weights: Literal["none", "balanced"] = "none"
    patience: int | None = Field(default=None, ge=1)
    checkpoint_steps: int | None = Field(default=None, ge=1)
    deterministic: bool = True


class Ensemble(Closed):
    """Whether the `seeds` fits answer together, as the mean of their answers.

    `if-proved` keeps them where the mean is proved better than the best fit, and its fastest engine takes at most
    `latency_share` of `serving.latency_slo_ms` for a full batch.
    """

    keep: Literal["if-proved", "never"] = "if-proved"
    latency_share: float = Field(default=0.5, gt=0, le=1)


class Compress(Closed):
    """Smaller forms of the model, each taken only if no slice pays for it.

    `distil` is a student that learns from the chosen model's answers, `prune` the share of hidden units to leave out,
    `int8` stores ONNX weights in 8 bits and computes so where the range of activations was measured (`static`) or is
    found at each request (`dynamic`). A form is refused unless it is proved to lose at most `slice_loss`, of accuracy
    or of the labels' spread, on all validation rows and on each slice. int8 is taken where it serves the `aim`.
    """

    distil: Candidate | None = None
    prune: float | None = Field(default=None, gt=0, lt=1)
    int8: Literal["none", "static", "dynamic"] = "none"
    slice_loss: float = Field(default=0.05, gt=0, lt=1)
    aim: Literal["speed", "size"] = "speed"

    @model_validator(mode="after")
    def _a_network_learns(self) -> Compress:
        if self.distil is not None and self.distil.architecture == "gradient-boosting":
            raise ValueError("trees cannot learn from another model's answers; name a network in distil")
        return self


class Attributions(Closed):
    """Who looks, before a promotion, at what the answers to so many validation `rows` rest on."""

    reviewers: list[str] = Field(min_length=1)
    rows: int = Field(default=6, ge=1, le=24)


class Model(Closed):
    """What is learned and how; a regression answers with a number, every other task with one of the label's classes.

    The fastest of `engines` is served whose answers are within `tolerance` of the trained network's: of a probability,
    or of the labels' spread. `exports` are made of the sealed bundle and proved in the same step.
    """

    task: Literal[
        "image-classification", "tabular-classification", "image-tabular-classification", "tabular-regression"
    ]
    inputs: Inputs
    candidates: list[Candidate] = Field(min_length=1)
    passed_over: list[PassedOver] = []
    wider_candidates: list[Candidate] = []
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=64, ge=1)
    augment: list[Augmentation] = ["light"]
    training: Training = Training()
    search: Search = Search()
    seeds: int = Field(default=2, ge=1)
    ensemble: Ensemble = Ensemble()
    compress: Compress | None = None
    attributions: Attributions | None = None
    exports: list[ExportName] = []
    engines: list[EngineName] = Field(default=["torch-safetensors", "onnx"], min_length=1)
    tolerance: float = Field(default=1e-4, gt=0, lt=1)

    @model_validator(mode="after")
    def _candidates_are_varied(self) -> Model:
        if strange := sorted(self.search.vary.keys() - {each.architecture for each in self.candidates}):
            raise ValueError(f"search.vary names {', '.join(strange)}, which is no candidate of the plan")
        return self

    @model_validator(mode="after")
    def _an_engine_that_is_served(self) -> Model:
        if all(engine in MEASURED_ONLY for engine in self.engines):
            raise ValueError(f"{' and '.join(self.engines)} are measured and not served; add onnx, for one")
        if self.compress is not None and self.compress.int8 != "none" and "onnx" not in self.engines:
            raise ValueError("compress.int8 is a form of the ONNX file; add onnx to engines")
        return self

    @property
    def answers(self) -> Answers:
        """Whether the model answers with a class or with a number."""
        return "number" if self.task == "tabular-regression" else "class"
