"""`sextant trigger`: the service that Alertmanager calls, and that starts the retraining."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sextant_pipelines.options import home_option, plan_argument
from sextant_plan.errors import UsageError

if TYPE_CHECKING:
    from sextant_monitoring.launcher import Launcher


@click.command("trigger")
@plan_argument
@home_option
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    help="File of the bearer token that Alertmanager sends (http_config.authorization).",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for every one.")
@click.option("--port", type=click.IntRange(0, 65535), default=9095, show_default=True, help="TCP port; 0 for any.")
@click.option(
    "--profile",
    "profile_path",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Submit to Kubeflow Pipelines by this cluster profile. Default: run on this machine.",
)
@click.option(
    "--kfp-host",
    envvar="KF_PIPELINES_ENDPOINT",
    show_envvar=True,
    default="http://127.0.0.1:8888",
    show_default=True,
    help="Address of the KFP API server, for --profile.",
)
@click.option("--namespace", default="", help="Your namespace, in a KFP deployment for many users.")
@click.option(
    "--kfp-token-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    envvar="KF_PIPELINES_SA_TOKEN_PATH",
    show_envvar=True,
    help="File of the bearer token for KFP.",
)
def command(
    *,
    plan_path: Path,
    home: Path,
    token_file: Path,
    host: str,
    port: int,
    profile_path: Path | None,
    kfp_host: str,
    namespace: str,
    kfp_token_file: Path | None,
) -> int:
    """Listen for alerts of PLAN (default plan.yaml) and retrain by its policy, until stopped.

    POST /alerts takes Alertmanager's webhook; GET /metrics and /healthz need no token. State lies below --home.
    Exits 0 after SIGTERM or SIGINT once open requests are answered.
    """
    from sextant_monitoring.trigger import Trigger
    from sextant_monitoring.trigger_service import ALERTS, TriggerServer
    from sextant_pipelines.cluster_profile import load_profile
    from sextant_pipelines.kfp_server import KfpServer
    from sextant_pipelines.launchers import KfpLauncher, LocalLauncher
    from sextant_pipelines.submission import unreceived
    from sextant_plan.loading import load_plan

    plan = load_plan(plan_path)
    if not token_file.read_text(encoding="utf-8").strip():
        raise UsageError(f"{token_file}: the file is empty. Write a token of your own into it.")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    if profile_path is None:
        launcher: Launcher = LocalLauncher(plan_path.resolve(), home.resolve())
    else:
        kfp = KfpServer(kfp_host, namespace, kfp_token_file)
        launcher = KfpLauncher(plan_path, load_profile(profile_path), kfp)
        if warning := unreceived(plan, "retrain"):
            click.echo(f"warning: {warning}", err=True)
    server = TriggerServer((host, port), Trigger(plan, home, launcher), token_file)
    stop = threading.Thread(target=server.shutdown)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.start() if not stop.ident else None)
    click.echo(f"{plan.name}: alerts are taken at {server.url}{ALERTS}", err=True)
    with server:
        server.serve_forever(poll_interval=0.2)
    return 0
