"""A server's metrics page, read for the counters of a rollout."""

from __future__ import annotations

import http.client
from collections.abc import Collection

from sextant_plan.errors import InfrastructureError
from sextant_plan.window import Sample
from sextant_serving.client import Client


class CountersUnreadable(InfrastructureError):
    """A server or a metrics store that does not tell what was counted."""

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"{source}: {problem}. Until it answers, the rollout waits.")


def read_page(url: str, wanted: Collection[str]) -> tuple[Sample, ...]:
    """Return the wanted series of the server at `url`. Raises CountersUnreadable."""
    try:
        with Client(url, timeout=5.0) as client:
            text = client.metrics_text()
    except (OSError, http.client.HTTPException) as error:
        raise CountersUnreadable(url, type(error).__name__) from error
    return parse_page(text, wanted, url)


def parse_page(text: str, wanted: Collection[str], source: str) -> tuple[Sample, ...]:
    """Return the wanted series of a page in the Prometheus text format. Raises CountersUnreadable."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        return tuple(
            Sample(sample.name, dict(sample.labels), float(sample.value))
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name in wanted
        )
    except (ValueError, KeyError, IndexError) as error:
        raise CountersUnreadable(source, "not the Prometheus text format") from error
