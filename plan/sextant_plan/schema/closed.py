"""The base of every part of the plan."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Closed(BaseModel):
    """A part of the plan: frozen, and with no room for a key nobody reads."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
