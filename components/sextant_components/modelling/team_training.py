"""The train step over several processes that torchrun started: the first runs the step, the others lend a hand."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from sextant_components.modelling.teams import Stopped, Team, assembled
from sextant_components.modelling.train import CHECKPOINTS, read_inputs, run_train
from sextant_components.modelling.training import fit
from sextant_components.runs.context import RunContext
from sextant_plan.verdicts import Verdict


def train_in_team(context: RunContext, *, snapshot: Path, splits: Path, model: Path) -> Verdict | None:
    """Run the train step as a member of the team that torchrun describes; None for all members but the first.

    All members read the same folders, so these lie on a volume that every machine of the team mounts. Where the
    first member fails, torchrun ends the others.
    """
    with assembled() as team:
        if not team.leads:
            _lend_a_hand(team, context, snapshot, splits)
            return None
        verdict = run_train(context, snapshot=snapshot, splits=splits, model=model)
        team.dismiss()
        return verdict


def _lend_a_hand(team: Team, context: RunContext, snapshot: Path, splits: Path) -> None:
    """Take a share of every batch of every fit until the first member has no more."""
    shape, train, valid = read_inputs(context, snapshot, splits)
    while (settings := team.next_fit()) is not None:
        with suppress(Stopped):
            fit(settings, shape, train, valid, checkpoints=context.run / CHECKPOINTS)
