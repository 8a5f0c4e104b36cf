"""The plan: what is wanted, what counts as success, and what the life cycle is to do about it.

Every model here is closed: an unknown key is an error. Defaults are part of the plan's hash.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sextant_plan.catalogue import METRICS, Answers, Enforcement, Metric
from sextant_plan.types import DrillName, Duration, Entrypoint, Name, Share


class Closed(BaseModel):
    """A part of the plan: frozen, and with no room for a key nobody reads."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Owner(Closed):
    team: str
    approvers: list[str] = Field(min_length=1)


class Baseline(Closed):
    """What the model has to beat: the majority class, the mean of the numbers, or the user's rule over the columns."""

    kind: Literal["majority", "mean", "heuristic"] = "majority"
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
    cost_per_training: float = Field(default=0.0, ge=0)
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
    metric: str = Field(json_schema_extra={"enum": [*sorted(METRICS)]})  # `check` knows near misses
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
        return self.definition.paired_bound if self.relative_to is not None else self.definition.bound

    @property
    def limit(self) -> float:
        """The one limit that is set, in the metric's unit."""
        limit = self.at_least if self.at_least is not None else self.at_most
        assert limit is not None
        return limit

    @property
    def requirement(self) -> str:
        """The criterion as a clause, such as `accuracy at least 0.95 share on light=night`."""
        side = "at least" if self.at_least is not None else "at most"
        text = f"{self.metric} {side} {self.limit:g} {self.definition.unit}"
        if self.slice is not None:
            text += f" {'on' if '=' in self.slice else 'over the values of'} {self.slice}"
        if self.relative_to is not None:
            text += f", as a difference to the {self.relative_to}"
        return text


class ColumnRule(Closed):
    """What a column of the table must hold; `verify` checks every row against it.

    `clip` is the share of the training values at each end of a number that the model reads as that end's quantile.
    """

    type: Literal["number", "category", "text", "timestamp", "boolean"]
    min: float | None = None
    max: float | None = None
    clip: float = Field(default=0.0, ge=0, lt=0.5)
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
    """Several raters' labels: one column of the table for each, and the agreement they must reach.

    `gold` is the column with the known answer of the items that test the raters; it is empty elsewhere.
    """

    raters: list[str] = Field(min_length=2)
    agreement_at_least: Share = 0.67
    gold: str | None = None


class Selection(Closed):
    """What `prepare` measures before training: the gain of each column, and of each kind of suspect training row.

    Columns are only measured, because a plan says what a model reads. Rows of a kind that is proved to harm are left
    out of training with `apply`, and only counted with `measure`.
    """

    columns: bool = False
    rows: Literal["off", "measure", "apply"] = "off"


class Procured(Closed):
    """One part of the data, where it is from and why; `share` is of the rows, `cost` in the economics' currency."""

    kind: Literal["own", "bought", "open", "synthetic"]
    share: Share
    cost: float = Field(default=0.0, ge=0)
    reason: str


class Data(Closed):
    """Where the data is; `table`, `images` and `corrections` are relative to `source`, and `source` to the plan.

    `source` is a folder or an fsspec address such as s3://bucket/folder. A folder with one subfolder for each class,
    or with a metadata.csv, .jsonl or .parquet beside its pictures, needs only `images`; with a table, `image` names
    the column that holds each row's file. `rules` compare two columns of a row, such as `weight <= capacity`.
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
    rules: list[str] = []
    corrections: str | None = None
    selection: Selection = Selection()
    procurement: list[Procured] = []
    labelling: Labelling | None = None
    licence: Licence
    consent: Consent
    sensitive: list[str] = []

    @model_validator(mode="after")
    def _something_to_read(self) -> Data:
        if self.table is None and self.images is None:
            raise ValueError("name a table, a folder of images, or both")
        return self

    @model_validator(mode="after")
    def _parts_make_the_whole(self) -> Data:
        shares = sum(part.share for part in self.procurement)
        if self.procurement and abs(shares - 1) > 1e-6:
            raise ValueError(f"the shares under procurement sum to {shares:g}; they have to sum to 1")
        return self


class FeatureView(Closed):
    """One table of features by entity and event time; `source` is relative to data.source."""

    name: Name
    source: str
    timestamp: str
    columns: list[str] = Field(min_length=1)
    ttl: Duration = 30 * 86400.0


class OnDemand(Closed):
    """Features computed from stored ones when they are read, by one function in training and in serving.

    `inputs` are `view:feature`; the function gets a list of values for each feature's name, None where missing, and
    returns a list of as many values for each of `columns`.
    """

    name: Name
    entrypoint: Entrypoint
    inputs: list[str] = Field(min_length=1)
    columns: list[str] = Field(min_length=1)


class Features(Closed):
    """Features that Feast serves: joined point in time for training, looked up online when serving.

    The model names those of `on_demand` as it names those of `views`: `name:column`.
    """

    store: Literal["feast"] = "feast"
    views: list[FeatureView] = Field(min_length=1)
    on_demand: list[OnDemand] = []

    def stored_inputs(self, names: list[str]) -> list[str]:
        """Return the stored features, as `view:feature` and each once, behind those that a model names."""
        computed = {f"{each.name}:{column}": each.inputs for each in self.on_demand for column in each.columns}
        return list(dict.fromkeys(stored for name in names for stored in computed.get(name, [name])))


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
    architecture: str
    params: dict[str, int | float | str | bool] = {}


class Search(Closed):
    """The tuning budget: trials over the candidates and over these [low, high] ranges, on a log scale."""

    trials: int = Field(default=4, ge=1)
    learning_rate: tuple[float, float] = (3e-4, 1e-2)
    weight_decay: tuple[float, float] = (1e-6, 1e-2)


Augmentation = Literal["light", "shift", "turn", "mirror", "blur", "erase"]
"""A way in which training pictures are changed at random; see `sextant_components.augmentation`."""

EngineName = Literal[
    "torch-safetensors", "torch-channels-last", "torch-bf16", "torch-compile", "aot-inductor", "onnx", "openvino"
]
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


class Model(Closed):
    """What is learned and how; a regression answers with a number, every other task with one of the label's classes.

    The fastest of `engines` is served whose answers are within `tolerance` of the trained network's: of a probability,
    or of the labels' spread.
    """

    task: Literal[
        "image-classification", "tabular-classification", "image-tabular-classification", "tabular-regression"
    ]
    inputs: Inputs
    candidates: list[Candidate] = Field(min_length=1)
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=64, ge=1)
    augment: list[Augmentation] = ["light"]
    training: Training = Training()
    search: Search = Search()
    seeds: int = Field(default=2, ge=1)
    engines: list[EngineName] = Field(default=["torch-safetensors", "onnx"], min_length=1)
    tolerance: float = Field(default=1e-4, gt=0, lt=1)

    @model_validator(mode="after")
    def _an_engine_that_is_served(self) -> Model:
        if all(engine in MEASURED_ONLY for engine in self.engines):
            raise ValueError(f"{' and '.join(self.engines)} are measured and not served; add onnx, for one")
        return self

    @property
    def answers(self) -> Answers:
        """Whether the model answers with a class or with a number."""
        return "number" if self.task == "tabular-regression" else "class"


class Explanation(Closed):
    """The explanation that users are promised, and how long one may take.

    `integrated-gradients` needs a network's gradients (Sundararajan et al. 2017); the others ask any engine.
    """

    method: Literal["occlusion", "permutation", "integrated-gradients"]
    budget: Duration = 1.0


CorruptionName = Literal[
    "noise", "shot", "impulse", "blur", "defocus", "motion", "dark", "bright", "contrast", "fog", "occlusion",
    "pixelate", "jpeg",
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

    The model is due for retraining at the age at which it has lost `tolerated_loss` of its accuracy.
    """

    windows: int = Field(default=5, ge=3, le=50)
    tolerated_loss: float = Field(default=0.02, gt=0, lt=1)


class Evaluation(Closed):
    """How the model is judged; `split_by: time` seals each class's newest rows, so that it is tested on its future."""

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


class Hardware(Closed):
    cpu: float = Field(default=1.0, gt=0)
    memory: str = Field(default="2Gi", pattern=r"^\d+(Mi|Gi)$")
    gpu: int = Field(default=0, ge=0)


class Batching(Closed):
    """When a batch leaves: at `max_rows`, or once its oldest request has waited `max_wait`.

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
    outside the range of the training rows than this share of the range.
    """

    abstain_below: Share = 0.0
    abstain_outside: float | None = Field(default=None, ge=0)
    missing_features: Literal["reject", "default", "abstain"] = "default"


class PredictionLog(Closed):
    """What the server writes down of its predictions, so that labels can be joined to them later.

    `sample` is the share of requests; files older than `keep` go, and the oldest beyond `max_megabytes`. Of the
    inputs it keeps those named in `columns` as they were read, those in `hashed` as a keyed digest, and no other;
    pictures never.
    """

    sample: Share = 0.0
    keep: Duration = 30 * 86400.0
    max_megabytes: int = Field(default=1024, ge=1)
    columns: list[str] = []
    hashed: list[str] = []


class Serving(Closed):
    hardware: Hardware = Hardware()
    latency_slo_ms: float = Field(default=100.0, gt=0)
    batching: Batching = Batching()
    fallback: Fallback = Fallback()
    attachment: Entrypoint | None = None
    log: PredictionLog = PredictionLog()


class Acceptance(Closed):
    """Users who try the canary before it takes all traffic: each rates each task from 1 to 5.

    A user is satisfied who gives every task at least `satisfied_from`; the lower bound of the satisfied users' share
    at `confidence` has to reach `satisfied_at_least`, and one of the owner's approvers has to sign.
    """

    users: list[str] = Field(min_length=1)
    tasks: list[str] = Field(min_length=1)
    satisfied_from: int = Field(default=4, ge=1, le=5)
    satisfied_at_least: Share = 0.5
    confidence: float = Field(default=0.8, gt=0.5, lt=1)


class Comparison(Closed):
    """What a challenger has to be worth: money of one answer, in the economics' currency, more than the champion's.

    Each unit (`data.entity`) counts once, by the mean worth of its answers. A challenger is better once the lower bound
    of the gain reaches `gain_at_least`, at `min_units` of its own or more; negative, it tolerates a loss.
    """

    gain_at_least: float = 0.0
    min_units: int = Field(default=1000, ge=1)
    join_at_least: Share = 0.5


class Rollout(Closed):
    """How a version takes over. A canary serves `steps` percent in turn, judged once in each `interval` (a look).

    A step is left after `min_looks` looks without proved harm; the last, 100, asks for proof of every canary criterion.
    `burstiness` is the correlation of bad events within a look as measured on the stable version: 0 if they come alone.
    """

    strategy: Literal["immediate", "canary", "ab", "shadow"] = "immediate"
    deadline: Duration = 4 * 3600.0
    steps: list[int] = [5, 25, 50, 100]
    interval: Duration = 60.0
    min_looks: int = Field(default=5, ge=1)
    burstiness: float = Field(default=0.0, ge=0, lt=1)
    acceptance: Acceptance | None = None
    comparison: Comparison | None = None

    @model_validator(mode="after")
    def _steps_rise_to_all_traffic(self) -> Rollout:
        if len(self.steps) < 2 or self.steps[0] < 1 or self.steps[-1] != 100 or sorted(set(self.steps)) != self.steps:
            raise ValueError("steps are at least two rising percentages of which the last is 100")
        return self

    @model_validator(mode="after")
    def _interval_takes_time(self) -> Rollout:
        if self.interval <= 0:
            raise ValueError("the interval between two looks is longer than nothing")
        return self


class Labels(Closed):
    """When labels come back, and of how large a share of predictions for quality to be judged by them."""

    delay: Duration = 86400.0
    join_at_least: Share = 0.5


class Retrain(Closed):
    """Retrain when n of the last m windows violate and the latest does; never twice within the cooldown.

    After `reopen_planning_after` retrainings in a row that did not pass, the plan itself is in question.
    """

    n_of_last: tuple[int, int] = (3, 5)
    cooldown: Duration = 86400.0
    reopen_planning_after: int = Field(default=3, ge=1)


class Burn(Closed):
    """Alert when the budget is spent `rate` times too fast over a long and a short window; a page wakes a person."""

    rate: float = Field(gt=0)
    long: Duration
    short: Duration
    pages: bool = False

    @model_validator(mode="after")
    def _short_is_shorter(self) -> Burn:
        if self.short >= self.long:
            raise ValueError("the short window has to be shorter than the long one")
        return self


# The pairs of The Site Reliability Workbook (Beyer et al. 2018, table 5-8), for a period of 30 days.
DEFAULT_BURNS = [
    Burn(rate=14.4, long=3600.0, short=300.0, pages=True),
    Burn(rate=6.0, long=6 * 3600.0, short=1800.0, pages=True),
    Burn(rate=3.0, long=86400.0, short=7200.0),
    Burn(rate=1.0, long=3 * 86400.0, short=6 * 3600.0),
]


class Objectives(Closed):
    """What the service promises over `period`: shares of requests answered, and within serving.latency_slo_ms."""

    answered: float = Field(default=0.999, gt=0, lt=1)
    in_time: float = Field(default=0.99, gt=0, lt=1)
    period: Duration = 30 * 86400.0
    burns: list[Burn] = Field(default=DEFAULT_BURNS, min_length=1)


class Mail(Closed):
    """Mail by a relay, `host:port`; a password lies in a file that is mounted where Alertmanager runs."""

    to: list[str] = Field(min_length=1)
    sender: str
    relay: str = Field(pattern=r"^[^:\s]+:\d+$")
    username: str | None = None
    password_file: str | None = None
    require_tls: bool = True

    @model_validator(mode="after")
    def _login_is_whole(self) -> Mail:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file belong together")
        return self


class Chat(Closed):
    """A chat that takes Slack's incoming webhooks; the address is a secret and lies in a mounted file."""

    url_file: str
    channel: str


class TriggerHook(Closed):
    """The service that starts retrainings; its bearer token lies in a mounted file."""

    url: str = Field(pattern=r"^https?://\S+$")
    token_file: str | None = None


class Notify(Closed):
    """Whom alerts reach: `critical` mail and chat at once, `warning` mail once a day, `info` the trigger.

    `runbooks` is the address at which the pages of docs/runbooks can be read; alerts and boards link there.
    """

    runbooks: str = "docs/runbooks"
    mail: Mail | None = None
    chat: Chat | None = None
    trigger: TriggerHook | None = None

    def runbook(self, page: str) -> str:
        """Return the address of a runbook's page."""
        return f"{self.runbooks.rstrip('/')}/{page}.md"


class Monitoring(Closed):
    window: Duration = 3600.0
    min_rows: int = Field(default=200, ge=1)
    objectives: Objectives = Objectives()
    labels: Labels = Labels()
    retrain: Retrain = Retrain()
    notify: Notify = Notify()


class FailureMode(Closed):
    """One way to fail; `drill` names what rehearses it, where its own name is not a drill's already."""

    mode: Name
    fallback: str
    recover_within: Duration
    alert: str | None = None
    drill: DrillName | None = None


class Drills(Closed):
    """Which rehearsals a promotion asks for: of every failure mode that a drill can stage, and of those in `also`.

    The last of each must have passed and be no older than `max_age`. A model's first release, of which nothing can be
    rehearsed in service yet, is let through with `grace_first_release`.
    """

    max_age: Duration
    grace_first_release: bool = True
    also: list[DrillName] = []


class SignOff(Closed):
    """Whose signatures a version needs before it is promoted: all of `required`, who are among owner.approvers."""

    required: list[str] = Field(min_length=1)


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
    drills: Drills | None = None
    sign_off: SignOff | None = None
    amends: Amendment | None = None

    def canonical(self) -> dict[str, Any]:
        """Return the plan with defaults applied as JSON values; its digest is the plan's hash."""
        return self.model_dump(mode="json")
