"""`sextant logs`: from the disks of pods to where windows are judged."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click


@click.group("logs")
def command() -> None:
    """Bring what servers logged to an object store."""


@command.command("ship")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("address")
@click.option(
    "--every", type=click.FloatRange(min=0.1), default=30.0, show_default=True, help="Seconds between two passes."
)
@click.option("--once", is_flag=True, help="Make one pass and end.")
def ship(*, folder: Path, address: str, every: float, once: bool) -> None:
    """Move FOLDER/predictions/*.parquet, and copy what comes to FOLDER/feedback/*.jsonl, below ADDRESS.

    ADDRESS is that of one model, such as s3://logs/parcels; the monitor pipeline reads there by SEXTANT_LOGS=s3://logs.
    A store that is away is tried again at the next pass. SIGTERM ends it after a last one: have the server end before.
    """
    from sextant_components.deployment.store_backups import StoreFailed
    from sextant_components.monitoring.log_store import ship_logs

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    failing = False
    while True:
        last = once or stop.is_set()
        try:
            ship_logs(folder, address)
        except StoreFailed as error:
            if last:
                raise
            if not failing:
                click.echo(str(error), err=True)
            failing = True
        else:
            failing = False
        if last:
            return
        stop.wait(every)
