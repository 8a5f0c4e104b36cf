"""`sextant backup`: copies of what a home cannot make anew, and the way back from them."""

from __future__ import annotations

from pathlib import Path

import click

from sextant_pipelines.options import Function, home_option


def _database_option(function: Function) -> Function:
    option = click.option(
        "--database", metavar="URL", help="The registry's PostgreSQL, where it is not the home's own SQLite file."
    )
    return option(function)


def _store_option(function: Function) -> Function:
    option = click.option("--store", metavar="URL", help="The runs' object store, such as s3://runs.")
    return option(function)


@click.group("backup")
def command() -> None:
    """Back up what a home cannot make anew: registry, features, bundles, evidence, records, labels; and restore it."""


@command.command("create")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@home_option
@_database_option
@_store_option
def create(folder: Path, home: Path, database: str | None, store: str | None) -> None:
    """Write a backup into FOLDER; into an earlier one, what is new.

    Left out, and named on standard error, is what Sextant has not written into the home.
    """
    from sextant_components.deployment.backups import back_up_home, dump_postgresql, strangers, verify_objects
    from sextant_components.deployment.store_backups import back_up_store
    from sextant_plan.errors import UsageError

    if not home.is_dir():
        raise UsageError(f"{home}: no home to back up. Name another with --home.")
    back_up_home(home, folder)
    if left_out := strangers(home):
        click.echo(f"no part of the backup: {', '.join(left_out)}", err=True)
    if database is not None:
        dump_postgresql(database, folder)
    if store is not None:
        back_up_store(store, folder)
    click.echo(f"{folder}: {verify_objects(folder)} objects, each as its digest says")


@command.command("verify")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
def verify(folder: Path) -> None:
    """Check every object of the backup in FOLDER against its digest."""
    from sextant_components.deployment.backups import verify_objects

    click.echo(f"{folder}: {verify_objects(folder)} objects, each as its digest says")


@command.command("restore")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@_database_option
@_store_option
def restore(folder: Path, database: str | None, store: str | None) -> None:
    """Write the backup in FOLDER back to where its home was, its dump into an empty database, its runs into a store.

    The place has to be empty: move what is left of the old home aside first.
    """
    from sextant_components.deployment.backups import restore_home, restore_postgresql, verify_objects
    from sextant_components.deployment.store_backups import restore_store

    home = restore_home(folder)
    if database is not None:
        restore_postgresql(folder, database)
    if store is not None:
        restore_store(folder, store)
    click.echo(f"{home}: {verify_objects(home)} objects, each as its digest says")
