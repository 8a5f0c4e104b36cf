"""What the feature store holds and what is computed from it on demand."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sextant_plan.schema.closed import Closed
from sextant_plan.types import DAY, Duration, Entrypoint, Name


class FeatureView(Closed):
    """One table of features by entity and event time; `source` is relative to data.source."""

    name: Name
    source: str
    timestamp: str
    columns: list[str] = Field(min_length=1)
    ttl: Duration = 30 * DAY


class OnDemand(Closed):
    """Features computed when they are read, by one function in training and in serving.

    `inputs` are `view:feature`, and `request` names columns of data.columns that come with each request, whether the
    model reads them too or not. The function gets a list of values for each feature's and column's name, None where
    missing, and returns a list of as many values for each of `columns`.
    """

    name: Name
    entrypoint: Entrypoint
    inputs: list[str] = Field(min_length=1)
    request: list[str] = []
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
