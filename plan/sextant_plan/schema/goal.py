"""Who wants what, why, and what counts as success."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sextant_plan.catalogue import Enforcement
from sextant_plan.catalogue.criteria import Metric
from sextant_plan.catalogue.metrics import METRICS
from sextant_plan.schema.closed import Closed
from sextant_plan.types import Entrypoint, Name

Role = Literal["data", "domain", "model", "operations", "compliance"]


class Owner(Closed):
    """Who answers: the team, those who may approve a release, and who fills which role.

    Above the risk class minimal the feasibility study asks for `data`, `model` and `operations`, and where the risk is
    high for `compliance` too.
    """

    team: str
    approvers: list[str] = Field(min_length=1)
    roles: dict[Role, str] = {}


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
    `slice` is `column=value`, or a column alone for a metric that compares the column's values. A gate passes only
    from `min_n` independent observations on: requests for latency and reliability, else rows, where those of one group
    (see data) count for what they are worth together.
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
