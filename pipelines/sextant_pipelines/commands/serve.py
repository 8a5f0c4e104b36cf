"""`sextant serve`: the server, with the command line's defaults."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from sextant_pipelines.options import DEFAULT_HOME
from sextant_plan.errors import UsageError
from sextant_serving.allocator import with_huge_pages


@click.command("serve")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="SEXTANT_HOME",
    help=f"Follow the model in service below this folder, also when it changes. Default: {DEFAULT_HOME}.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Serve this one bundle instead of the model in service.",
)
@click.option(
    "--feature-repo",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Feast repository for --bundle; with --home, active.json names it.",
)
@click.option("--model-name", help="Name in the URLs. Default: the bundle's name.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for every one.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="TCP port; 0 for any free one."
)
@click.option(
    "--workers",
    default="1",
    show_default=True,
    metavar="N",
    help="Processes on the same port; auto: one for each GPU, without one for each core.",
)
@click.option(
    "--challenger",
    multiple=True,
    metavar="NAME=DIR:PERCENT",
    help="With --bundle: a bundle that answers PERCENT of the units as this variant. Repeatable.",
)
@click.option(
    "--shadow",
    multiple=True,
    metavar="NAME=DIR:PERCENT",
    help="With --bundle: a bundle that gets copies of PERCENT of the requests and answers nobody. Repeatable.",
)
@click.option("--experiment", help="With --bundle: another name assigns every unit anew. Default: by the challengers.")
@click.option(
    "--prediction-log",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the predictions that the plan's serving.log samples into this folder.",
)
@click.option(
    "--feedback-log",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Append each label that /feedback takes to this file, as a JSON line.",
)
@click.argument("server_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- OPTIONS]")
def command(
    *,
    home: Path | None,
    bundle: Path | None,
    feature_repo: Path | None,
    model_name: str | None,
    host: str,
    port: int,
    workers: str,
    challenger: tuple[str, ...],
    shadow: tuple[str, ...],
    experiment: str | None,
    prediction_log: Path | None,
    feedback_log: Path | None,
    server_options: tuple[str, ...],
) -> int:
    """Serve predictions over HTTP and gRPC until stopped: v1 and v2 JSON, v2 binary tensors, and pictures.

    OPTIONS after -- go to the server as they are: python -m sextant_serving --help lists them.

    Exits 0 after SIGTERM or SIGINT once open requests are answered.
    """
    if bundle is not None and home is not None and os.environ.get("SEXTANT_HOME") != str(home):
        raise UsageError("--home and --bundle exclude each other: the first follows a model, the second fixes it.")
    if bundle is None and feature_repo is not None:
        raise UsageError("--feature-repo goes with --bundle; with --home, active.json names the repository.")
    if bundle is None and (challenger or shadow or experiment):
        raise UsageError(
            "--challenger, --shadow and --experiment go with --bundle; with --home, active.json names them."
        )
    arguments = [sys.executable, "-m", "sextant_serving", "--host", host, "--port", str(port)]
    arguments += ["--workers", workers]
    arguments += ["--bundle", str(bundle)] if bundle else ["--home", str(_followed(home or DEFAULT_HOME))]
    arguments += ["--model-name", model_name] if model_name else []
    arguments += ["--feature-repo", str(feature_repo)] if feature_repo else []
    arguments += [part for given in challenger for part in ("--challenger", given)]
    arguments += [part for given in shadow for part in ("--shadow", given)]
    arguments += ["--experiment", experiment] if experiment else []
    arguments += ["--prediction-log", str(prediction_log)] if prediction_log else []
    arguments += ["--feedback-log", str(feedback_log)] if feedback_log else []
    arguments += server_options
    # The server replaces this process, so that signals reach it and no second interpreter stays behind.
    os.execve(sys.executable, arguments, with_huge_pages(os.environ))  # noqa: S606 - our own interpreter and module


def _followed(home: Path) -> Path:
    if not (home / "active.json").exists():
        raise UsageError(f"{home}: no model is in service here. Run a plan first: sextant run plan.yaml.")
    return home
