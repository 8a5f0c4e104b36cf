"""The plan: what is wanted, what counts as success, and what the life cycle is to do about it.

Every model here is closed: an unknown key is an error. Defaults are part of the plan's hash.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sextant_plan.catalogue import METRICS, PAIRED_BOUND, Enforcement, Metric
from sextant_plan.types import Duration, Entrypoint, Name, Share


class Closed(BaseModel):
    """A part of the plan: frozen, and with no room for a key nobody reads."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Owner(Closed):
    team: str
    approvers: list[str] = Field(min_length=1)


class Baseline(Closed):
    """What the model has to beat: the majority class, or the user's own rule over the table's columns."""

    kind: Literal["majority", "heuristic"] = "majority"
    entrypoint: Entrypoint | None = None

    @model_validator(mode="after")
    def _heuristic_names_its_code(self) -> Baseline:
        if (self.kind == "heuristic") != (self.entrypoint is not None):
            raise ValueError("a heuristic baseline, and only that, names its entrypoint")
        return self


class Economics(Closed):
    """Money of one answer, in one currency; the cost-benefit sheet is computed from it."""

    currency: str = "EUR"
    value_per_correct: float = Field(ge=0)
    cost_per_error: float = Field(ge=0)
    cost_per_label: float = Field(default=0.0, ge=0)
    cost_per_serving_hour: float = Field(default=0.0, ge=0)
    predictions_per_day: float = Field(gt=0)


class Goal(Closed):
    business: str
    why_ml: str
    baseline: Baseline = Baseline()
    risk_class: Literal["minimal", "limited", "high"] = "minimal"
    societal_impact: str = ""
    economics: Economics | None = None


class Criterion(Closed):
    """One success criterion; kind, unit and direction come from the metric catalogue.

    `relative_to` makes the limit one on the paired difference to the baseline or to the champion.
    `slice` is `column=value`, or a column alone for a metric that compares the column's values.
    """

    id: Name
    metric: str
    at_least: float | None = None
    at_most: float | None = None
    relative_to: Literal["baseline", "champion"] | None = None
    slice: str | None = None
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    min_n: int = Field(default=100, ge=1)
    enforce: list[Enforcement] = Field(default=[Enforcement.GATE], min_length=1)

    @property
    def definition(self) -> Metric:
        """The catalogue's entry for this criterion's metric."""
        return METRICS[self.metric]

    @property
    def bound(self) -> str:
        """Where the bounds of the measured value come from."""
        return PAIRED_BOUND if self.relative_to is not None else self.definition.bound

    @property
    def limit(self) -> float:
        """The one limit that is set, in the metric's unit."""
        limit = self.at_least if self.at_least is not None else self.at_most
        assert limit is not None
        return limit


class ColumnRule(Closed):
    """What a column of the table must hold; `verify` checks every row against it."""

    type: Literal["number", "category", "text", "timestamp", "boolean"]
    min: float | None = None
    max: float | None = None
    values: list[str] | None = None
    required: bool = True
    unique: bool = False


class Licence(Closed):
    name: str
    source: str
    allows_training: bool


class Consent(Closed):
    """Why the data may be used: the basis, and whether persons can be identified from it."""

    basis: str
    personal_data: bool = False


class Labelling(Closed):
    """Several raters' labels: one column of the table for each, and the agreement they must reach."""

    raters: list[str] = Field(min_length=2)
    agreement_at_least: Share = 0.67


class Data(Closed):
    """Where the data is; `table` and `images` are relative to `source`, and `source` to the plan.

    A folder with one subfolder for each class needs only `images`; with a table, `image` names the column
    that holds each row's file.
    """

    source: str
    table: str | None = None
    images: str | None = None
    image: str = "image"
    label: str = "label"
    entity: str | None = None
    timestamp: str | None = None
    group: str | None = None
    columns: dict[str, ColumnRule] = {}
    labelling: Labelling | None = None
    licence: Licence
    consent: Consent
    sensitive: list[str] = []

    @model_validator(mode="after")
    def _something_to_read(self) -> Data:
        if self.table is None and self.images is None:
            raise ValueError("name a table, a folder of images, or both")
        return self


class FeatureView(Closed):
    """One table of features by entity and event time; `source` is relative to data.source."""

    name: Name
    source: str
    timestamp: str
    columns: list[str] = Field(min_length=1)
    ttl: Duration = 30 * 86400.0


class Features(Closed):
    """Features that Feast serves: joined point in time for training, looked up online when serving."""

    store: Literal["feast"] = "feast"
    views: list[FeatureView] = Field(min_length=1)


class ImageInput(Closed):
    """The picture as the model takes it: height and width in pixels, 1 (grey) or 3 (RGB) channels."""

    height: int = Field(ge=8, le=512)
    width: int = Field(ge=8, le=512)
    channels: Literal[1, 3] = 3


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
    architecture: str
    params: dict[str, int | float | str | bool] = {}


class Search(Closed):
    """The tuning budget: trials over the candidates and over these [low, high] ranges, on a log scale."""

    trials: int = Field(default=4, ge=1)
    learning_rate: tuple[float, float] = (3e-4, 1e-2)
    weight_decay: tuple[float, float] = (1e-6, 1e-2)


class Model(Closed):
    task: Literal["image-classification", "tabular-classification", "image-tabular-classification"]
    inputs: Inputs
    candidates: list[Candidate] = Field(min_length=1)
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=64, ge=1)
    search: Search = Search()
    seeds: int = Field(default=2, ge=1)
    engines: list[Literal["torch-safetensors", "onnx"]] = Field(default=["torch-safetensors", "onnx"], min_length=1)


class Explanation(Closed):
    """The explanation that users are promised, and how long one may take."""

    method: Literal["occlusion", "permutation"]
    budget: Duration = 1.0


class Evaluation(Closed):
    sealed_split: float = Field(default=0.2, gt=0, lt=0.9)
    valid_split: float = Field(default=0.15, gt=0, lt=0.9)
    looks: int = Field(default=5, ge=1)
    slices: list[str] = []
    corruptions: list[Literal["noise", "blur", "dark", "bright", "occlusion"]] = []
    explanation: Explanation | None = None
    latency_requests: int = Field(default=300, ge=1)


class Hardware(Closed):
    cpu: float = Field(default=1.0, gt=0)
    memory: str = Field(default="2Gi", pattern=r"^\d+(Mi|Gi)$")
    gpu: int = Field(default=0, ge=0)


class Batching(Closed):
    max_rows: int = Field(default=32, ge=1, le=1024)
    max_wait: Duration = 0.002
    queue_rows: int = Field(default=512, ge=1)
    deadline: Duration = 2.0


class Fallback(Closed):
    """What is answered when the model should not: below the confidence, or without its features."""

    abstain_below: Share = 0.0
    missing_features: Literal["reject", "default", "abstain"] = "default"


class Serving(Closed):
    hardware: Hardware = Hardware()
    latency_slo_ms: float = Field(default=100.0, gt=0)
    batching: Batching = Batching()
    fallback: Fallback = Fallback()
    attachment: Entrypoint | None = None


class Rollout(Closed):
    strategy: Literal["immediate", "canary", "ab", "shadow"] = "immediate"
    deadline: Duration = 4 * 3600.0


class Labels(Closed):
    delay: Duration = 86400.0


class Retrain(Closed):
    """Retrain when n of the last m windows violate and the latest does; never twice within the cooldown."""

    n_of_last: tuple[int, int] = (3, 5)
    cooldown: Duration = 86400.0


class Monitoring(Closed):
    window: Duration = 3600.0
    min_rows: int = Field(default=200, ge=1)
    labels: Labels = Labels()
    retrain: Retrain = Retrain()


class FailureMode(Closed):
    mode: Name
    fallback: str
    recover_within: Duration
    alert: str | None = None


class Amendment(Closed):
    """Why this plan differs from the frozen one it replaces."""

    parent: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    author: str
    reason: str
    date: date


class Plan(Closed):
    """The whole plan as written in plan.yaml."""

    name: Name
    owner: Owner
    goal: Goal
    criteria: list[Criterion] = Field(min_length=1)
    data: Data
    features: Features | None = None
    model: Model
    evaluation: Evaluation = Evaluation()
    serving: Serving = Serving()
    rollout: Rollout = Rollout()
    monitoring: Monitoring = Monitoring()
    failure: list[FailureMode] = []
    amends: Amendment | None = None

    def canonical(self) -> dict[str, Any]:
        """Return the plan with defaults applied as JSON values; its digest is the plan's hash."""
        return self.model_dump(mode="json")
