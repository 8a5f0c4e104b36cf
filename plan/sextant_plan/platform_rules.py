"""The rules on what carries the server: faults that a GPU or a container reports of itself."""

from __future__ import annotations

from dataclasses import dataclass

from sextant_plan.alerts import Alert, AlertKind, AlertsByVerdict, Reading, Recording, Severity
from sextant_plan.catalogue.platform import GPU_FAULTS, POD_RESTARTS
from sextant_plan.schema import Criterion
from sextant_plan.verdicts import Verdict
from sextant_plan.window import Matcher, Selector, Window, promql_duration

RESTART_WINDOW = 3600.0  # two restarts in an hour are a loop; one may be a rollout's
RESTARTS = 2


def serving_pods(model: str) -> Matcher:
    """Return the matcher of the pods that serve a model: KServe names them after it."""
    return Matcher("pod", f"{model}-.+", regex=True)


@dataclass(frozen=True)
class GpuFaultRule(AlertsByVerdict):
    """No GPU under the model reports a fault (NVIDIA's XID, 0 for none)."""

    model: str
    labels: dict[str, str]
    criterion: Criterion | None = None

    @property
    def requirement(self) -> str:
        """The requirement as one clause."""
        return "no GPU under the model reports a fault"

    @property
    def faults(self) -> Selector:
        """The last XID of each GPU."""
        return Selector(GPU_FAULTS, (serving_pods(self.model),))

    def recordings(self) -> list[Recording]:
        """Return none: the alert reads the exporter's gauge."""
        return []

    def alerts(self) -> list[Alert]:
        """Return the alert that fires on a fault."""
        return [
            Alert(
                AlertKind.HARDWARE_FAULTY,
                f"max by (pod, gpu) ({self.faults.promql()}) > 0",
                0.0,
                Severity.CRITICAL,
                f"{self.model}: a GPU reports a fault",
                "GPU {{ $labels.gpu }} under pod {{ $labels.pod }} reports XID {{ $value }}.",
                {**self.labels, "fault": "gpu"},
            )
        ]

    def read(self, window: Window) -> list[Reading]:
        """Return a reading for each GPU that is seen."""
        return [
            Reading(
                (sample.labels.get("pod", ""), sample.labels.get("gpu", "")),
                Verdict.FAIL if sample.value > 0 else Verdict.PASS,
            )
            for sample in window.select(self.faults)
        ]


@dataclass(frozen=True)
class RestartRule(AlertsByVerdict):
    """No container of the model restarts over and over."""

    model: str
    labels: dict[str, str]
    criterion: Criterion | None = None

    @property
    def requirement(self) -> str:
        """The requirement as one clause."""
        return f"no container restarts {RESTARTS} times within {promql_duration(RESTART_WINDOW)}"

    @property
    def restarts(self) -> Selector:
        """The containers' restarts."""
        return Selector(POD_RESTARTS, (serving_pods(self.model),))

    def recordings(self) -> list[Recording]:
        """Return none: the alert reads the counter of kube-state-metrics."""
        return []

    def alerts(self) -> list[Alert]:
        """Return the alert that fires on a loop of restarts."""
        increase = f"increase({self.restarts.promql()}[{promql_duration(RESTART_WINDOW)}])"
        return [
            Alert(
                AlertKind.HARDWARE_FAULTY,
                f"sum by (pod, container) ({increase}) > {RESTARTS - 0.5}",
                0.0,
                Severity.CRITICAL,
                f"{self.model}: a container restarts over and over",
                f"{{{{ $labels.container }}}} of pod {{{{ $labels.pod }}}} has restarted {{{{ $value | humanize }}}} "
                f"times within {promql_duration(RESTART_WINDOW)}.",
                {**self.labels, "fault": "restarts"},
            )
        ]

    def read(self, window: Window) -> list[Reading]:
        """Return a reading for each container whose restarts were watched for the whole time."""
        watched = window.over(RESTART_WINDOW)
        if watched is None:
            return []
        return [
            Reading(
                (sample.labels.get("pod", ""), sample.labels.get("container", "")),
                Verdict.FAIL if sample.value > RESTARTS - 0.5 else Verdict.PASS,
            )
            for sample in watched.select(self.restarts)
        ]
