"""The board of hardware: pods and GPUs, by the exporters' own series."""

from __future__ import annotations

from sextant_monitoring import queries as q
from sextant_monitoring.panels import Board, Panel, Row
from sextant_plan.alerts import AlertKind
from sextant_plan.schema import Plan


def hardware_board(plan: Plan) -> Board:
    """Return the board that tells whether what carries the server holds."""
    rows = (Row("Pods", _pods(plan.name)), Row("GPU", _gpus(plan.name)))
    return Board("hardware", "Hardware", "Does what carries the server hold?", rows)


def _pods(model: str) -> tuple[Panel, ...]:
    return (
        Panel(
            "Memory of containers",
            "Over the limit of each.",
            "percentunit",
            (q.pod_memory(model),),
            limit=1.0,
            runbook=AlertKind.HARDWARE_STRAINED,
        ),
        Panel(
            "Restarts",
            "Of each container, since it was made.",
            "none",
            (q.pod_restarts(model),),
            runbook=AlertKind.HARDWARE_FAULTY,
        ),
    )


def _gpus(model: str) -> tuple[Panel, ...]:
    return (
        Panel(
            "GPU at work", "Share of time.", "percentunit", (q.gpu_busy(model),), limit=1.0, runbook=AlertKind.SATURATED
        ),
        Panel(
            "GPU memory",
            "Share in use.",
            "percentunit",
            (q.gpu_memory(model),),
            limit=1.0,
            runbook=AlertKind.HARDWARE_STRAINED,
        ),
        Panel(
            "GPU temperature", "Of the chip.", "celsius", (q.gpu_celsius(model),), runbook=AlertKind.HARDWARE_STRAINED
        ),
        Panel(
            "GPU faults",
            "The last XID of each GPU, 0 for none.",
            "none",
            (q.gpu_faults(model),),
            kind="stat",
            runbook=AlertKind.HARDWARE_FAULTY,
        ),
    )
