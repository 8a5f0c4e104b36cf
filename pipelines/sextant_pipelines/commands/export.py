"""`sextant export`: the model for a browser, as a Python package, or for a small device, with a proof of parity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sextant_pipelines.options import home_option, json_option, print_json
from sextant_plan.errors import UsageError

if TYPE_CHECKING:
    from sextant_components.modelling.exports.parity import Parity


@click.command("export")
@click.argument(
    "source", metavar="[BUNDLE]", required=False, type=click.Path(path_type=Path, file_okay=False, exists=True)
)
@click.option(
    "--to",
    "target",
    type=click.Choice(["browser", "package", "edge"]),
    required=True,
    help="browser: a page that runs the model; package: a wheel; edge: ONNX Runtime's compact format.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Empty folder to write to."
)
@click.option(
    "--runtime",
    type=click.Path(path_type=Path, dir_okay=False),
    help="For browser: the tarball of onnxruntime-web, fetched with npm pack; its digest is verified.",
)
@home_option
@json_option
def command(source: Path | None, target: str, out: Path, runtime: Path | None, home: Path, *, as_json: bool) -> int:
    """Write BUNDLE in another form and prove that it answers the golden requests as sealed.

    BUNDLE is a bundle's folder; without it, the model in service below --home. The proof is parity.json in the folder;
    it is recorded beside the ledger of the run below --home that sealed the bundle, and that run's dossier shows it.
    Exits 1 if the export answers otherwise.
    """
    if runtime is not None and target != "browser":
        raise UsageError(f"--runtime goes with --to browser; {target} needs none.")
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"--out {out}: the folder is not empty. Name a new one.")
    try:
        parity = _export(source or _in_service(home), target, out, runtime)
    finally:  # an export that answers otherwise has left its proof, which counts against it
        run = _recorded(home, out)
    if as_json:
        print_json({"folder": str(out), "run": str(run) if run else None, **parity.model_dump(mode="json")})
        return 0
    click.echo(f"{parity.verdict}  {target}  {out}  off by {parity.off:.2g} on {parity.rows} golden requests")
    said = f"recorded in {run}" if run else f"no run below {home} sealed this bundle: the proof stands in {out} alone"
    click.echo(said, err=True)
    if target == "browser":
        click.echo(f"Serve it from any static host, such as: python -m http.server --directory {out}", err=True)
    return 0


def _export(bundle: Path, target: str, out: Path, runtime: Path | None) -> Parity:
    from sextant_plan.bundle import read_bundle

    spec = read_bundle(bundle)
    if target == "browser":
        from sextant_components.modelling.exports.browser import export_browser

        return export_browser(bundle, spec, out, runtime=runtime)
    if target == "package":
        from sextant_components.modelling.exports.package import export_package

        return export_package(bundle, spec, out)
    from sextant_components.modelling.exports.edge import export_edge

    return export_edge(bundle, spec, out)


def _recorded(home: Path, out: Path) -> Path | None:
    """Record the export's proof, if there is one, in the run that sealed the bundle; return the run."""
    from sextant_components.modelling.exports.parity import PARITY_FILE

    if not (out / PARITY_FILE).exists():
        return None
    from sextant_components.closing.later import record_by_hand

    return record_by_hand(home, out)


def _in_service(home: Path) -> Path:
    from sextant_plan.promotion import read_active

    active = read_active(home)
    if active is None:
        raise UsageError(f"{home}: no model is in service here. Name a bundle's folder, or --home.")
    return Path(active.bundle)
