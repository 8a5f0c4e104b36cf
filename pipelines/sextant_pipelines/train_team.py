"""The train step as torchrun starts it, on one machine or on the nodes of a TrainJob.

torchrun --nproc-per-node 2 -m sextant_pipelines.train_team RUN --snapshot S --splits S --model M
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

_folder = click.Path(path_type=Path, file_okay=False, exists=True)


@click.command()
@click.argument("run", type=_folder)
@click.option("--snapshot", type=_folder, required=True, help="Folder that the ingest step wrote.")
@click.option("--splits", type=_folder, required=True, help="Folder that the prepare step wrote.")
@click.option("--model", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write.")
def main(*, run: Path, snapshot: Path, splits: Path, model: Path) -> None:
    """Train the model of RUN, a run's folder on a volume that every process of the team mounts.

    Exits 0 passed, 1 a check failed, 3 one is unknown, 2 and 4 as everywhere; all processes but the first exit 0.
    """
    from sextant_components.modelling.team_training import train_in_team
    from sextant_components.runs.context import open_run
    from sextant_plan.errors import SextantError
    from sextant_plan.verdicts import exit_code

    try:
        verdict = train_in_team(open_run(str(run)), snapshot=snapshot, splits=splits, model=model)
    except SextantError as error:
        click.echo(str(error), err=True)
        sys.exit(int(error.exit_code))
    sys.exit(0 if verdict is None else int(exit_code(verdict)))


if __name__ == "__main__":
    main()
