"""Alertmanager's webhook, version 4: the part of its body that the trigger reads; other keys are passed over."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict


class WebhookAlert(BaseModel):
    """One alert; a firing one has no end yet, for which Alertmanager sends year 1."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    startsAt: datetime  # noqa: N815 - Alertmanager's name
    endsAt: datetime  # noqa: N815
    fingerprint: str = ""

    @property
    def firing(self) -> bool:
        """Whether the alert still fires."""
        return self.status == "firing"

    @property
    def started(self) -> float:
        """Unix time of the alert's beginning."""
        return self.startsAt.timestamp()

    @property
    def ended(self) -> float:
        """Unix time of a resolved alert's end."""
        return self.endsAt.timestamp()


class Notification(BaseModel):
    """The body of one POST."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal["4"]
    alerts: list[WebhookAlert]
