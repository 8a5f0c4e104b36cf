"""The boards of a plan: an overview by phase, and one for each subject that an alert sends a reader to."""

from __future__ import annotations

from sextant_monitoring.board_data import data_board
from sextant_monitoring.board_drift import drift_board
from sextant_monitoring.board_hardware import hardware_board
from sextant_monitoring.board_overview import overview_board
from sextant_monitoring.board_quality import quality_board
from sextant_monitoring.board_rollout import rollout_board
from sextant_monitoring.board_serving import serving_board
from sextant_monitoring.panels import Board
from sextant_plan.schema import Plan


def boards(plan: Plan) -> list[Board]:
    """Return the boards of a plan. Raises UsageError as `compile_rules` does."""
    return [
        overview_board(plan),
        serving_board(plan),
        rollout_board(plan),
        drift_board(plan),
        quality_board(plan),
        data_board(plan),
        hardware_board(plan),
    ]


def render_boards(plan: Plan) -> dict[str, str]:
    """Return each board as Grafana's JSON by its file's name; equal plans give equal text."""
    from sextant_monitoring.grafana import render

    return {f"{plan.name}-{board.name}.json": render(board, plan) for board in boards(plan)}
