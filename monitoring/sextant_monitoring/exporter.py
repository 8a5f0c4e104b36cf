"""What the watcher measures itself, as a page for Prometheus: quality by labels, join rate, bias, the probe."""

from __future__ import annotations

import math
from collections.abc import Iterable
from threading import Thread
from typing import TYPE_CHECKING, Any

from sextant_monitoring.watcher import Look, own_samples
from sextant_plan.catalogue import COMMON_LABELS
from sextant_plan.catalogue.watching import EXPECTED_ACCURACY, EXPORTED, PROBE_SECONDS
from sextant_plan.schema import Plan
from sextant_plan.window import Sample

if TYPE_CHECKING:
    from prometheus_client.core import Metric


class Exporter:
    """Serves the last look on /metrics; before the first one the page is empty."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._look: Look | None = None
        self._server: Any = None
        self._thread: Thread | None = None

    def show(self, look: Look) -> None:
        """Replace what is shown."""
        self._look = look

    def collect(self) -> Iterable[Metric]:
        """Yield the metric families (prometheus_client's collector protocol)."""
        from prometheus_client.core import GaugeMetricFamily

        by_name: dict[str, list[Sample]] = {}
        for sample in self._samples():
            by_name.setdefault(sample.name, []).append(sample)
        for name, samples in by_name.items():
            series = EXPORTED[name]
            labels = (*COMMON_LABELS, *series.labels)
            family = GaugeMetricFamily(name, series.help, labels=labels)
            for sample in samples:
                family.add_metric([sample.labels[label] for label in labels], sample.value)
            yield family

    def _samples(self) -> list[Sample]:
        look = self._look
        if look is None:
            return []
        samples = [*own_samples(self._plan, look.quality, look.probed), *look.ageing]
        if look.probed is not None:
            labels = dict(zip(COMMON_LABELS, (self._plan.name, look.probed.version, "stable"), strict=True))
            samples.append(Sample(PROBE_SECONDS.name, labels, look.probed.slowest))
        for each in look.quality:
            if math.isnan(each.expected):
                continue  # answers without a probability expect nothing
            labels = dict(zip(COMMON_LABELS, each.target, strict=True))
            samples.append(Sample(EXPECTED_ACCURACY.name, labels, each.expected))
        return samples

    def start(self, host: str, port: int) -> int:
        """Serve the page until `stop`; return the port, which is chosen if 0 is given. Raises OSError."""
        from prometheus_client import CollectorRegistry, start_http_server

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        self._server, self._thread = start_http_server(port, addr=host, registry=registry)
        return int(self._server.server_port)

    def stop(self) -> None:
        """Stop serving and free the port."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
