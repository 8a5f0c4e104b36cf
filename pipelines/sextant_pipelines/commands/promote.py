"""`sextant promote`: the rollout of a run that stopped before it."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("promote")
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path, file_okay=False, exists=True))
def command(run_dir: Path) -> int:
    """Promote the version that RUN decided on and registered, and put it in service.

    For a run that stopped for want of signatures, or whose rollout broke off. The evidence is that of the run: nothing
    is trained or measured again. Exits with the run's new code.
    """
    from sextant_components.runs.context import open_run
    from sextant_pipelines.promotion import promote_run

    context = open_run(str(run_dir))
    code = promote_run(context)
    click.echo(f"{context.plan.name}: promoted; dossier {context.run / 'dossier.html'}")
    return int(code)
