"""`sextant rollout`: a canary on this machine or on a cluster, and what people have to say to it while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sextant_pipelines.options import Function, home_option, json_option, print_json

if TYPE_CHECKING:
    from sextant_pipelines.rollouts import Place
    from sextant_serving.rollout.state import Wishes


def _place_options(function: Function) -> Function:
    """Add `--home`, `--name` and `--namespace`, which say where the rollout is."""
    name = click.option("--name", help="The model, where there are rollouts of several.")
    namespace = click.option("--namespace", help="The InferenceService's namespace, for a rollout on a cluster.")
    return home_option(name(namespace(function)))


@click.group("rollout")
def command() -> None:
    """Let a new version take over step by step, on proof from real requests.

    A run of a plan with rollout.strategy: canary stages the version; `start` serves it beside the one in service on
    this machine, `submit` gives it to the controller of a cluster.
    """


@command.command("start")
@home_option
@click.option("--name", help="The model, where there are rollouts of several.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="TCP port; 0 for any free one."
)
def start(home: Path, name: str | None, host: str, port: int) -> int:
    """Serve the staged version beside the one in service until it has taken over or is taken back.

    Stopped or killed, the same command goes on. Exits 0 promoted, 1 rolled back on proof of harm, 3 undecided.
    """
    from sextant_pipelines.rollouts import Place, staged_rollout, start_rollout

    folder, release = staged_rollout(home, name)
    code = start_rollout(home, folder, release, host=host, port=port, tell=lambda text: click.echo(text, err=True))
    _show(Place(home, release.name), as_json=False)
    return int(code)


@command.command("submit")
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--namespace", required=True, help="The InferenceService's namespace.")
@click.option("--name", help="The InferenceService. Default: the plan's name.")
@click.option(
    "--storage-uri", required=True, help="Where the cluster finds the bundle; its path holds the bundle's digest."
)
def submit(run_dir: Path, namespace: str, name: str | None, storage_uri: str) -> None:
    """Add the version that RUN registered to an InferenceService as a canary without traffic, for the controller."""
    from sextant_components.deployment.release import registered_release
    from sextant_components.runs.context import open_run
    from sextant_pipelines.rollouts import service_documents

    context = open_run(str(run_dir))
    documents = service_documents(namespace, name or context.plan.name)
    release = documents.submit(registered_release(context), storage_uri)
    click.echo(f"{namespace}/{documents.name}: version {release.version} as {release.canary} beside {release.stable}")


@command.command("controller")
@home_option
@click.option("--namespace", required=True, help="The namespace whose InferenceServices it rolls out.")
@click.option("--prometheus", required=True, help="URL of the Prometheus that scrapes their servers.")
@click.option(
    "--scrape-interval", type=click.FloatRange(min=0.1), default=15.0, show_default=True, help="Its interval, seconds."
)
@click.option("--lease-namespace", help="Namespace of the lease. Default: the pod's own, else --namespace.")
@click.option(
    "--metrics-port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port of /metrics."
)
def controller(  # noqa: PLR0917 - click passes options by name
    home: Path,
    namespace: str,
    prometheus: str,
    scrape_interval: float,
    lease_namespace: str | None,
    metrics_port: int,
) -> None:
    """Roll out what is submitted to a namespace, until SIGTERM. Several controllers take turns by a lease."""
    from sextant_serving.rollout.process import ControllerOptions, serve_controller

    serve_controller(ControllerOptions(home, namespace, prometheus, scrape_interval, lease_namespace, metrics_port))


@command.command("status")
@_place_options
@json_option
def status(home: Path, name: str | None, namespace: str | None, as_json: bool) -> None:
    """Show where the rollout stands, and what each criterion's evidence says."""
    from sextant_pipelines.rollouts import Place

    _show(Place(home, name, namespace), as_json=as_json)


@command.command("pause")
@_place_options
def pause(home: Path, name: str | None, namespace: str | None) -> None:
    """Keep the weight as it is; looks go on, proof of harm still takes the canary back, the deadline waits."""
    _wish(home, name, namespace, lambda wishes: wishes.model_copy(update={"paused": True}))


@command.command("resume")
@_place_options
def resume(home: Path, name: str | None, namespace: str | None) -> None:
    """End a pause, or take up again a rollout that its deadline has stopped; its evidence still counts."""
    now = time.time()
    _wish(home, name, namespace, lambda wishes: wishes.model_copy(update={"paused": False, "resumed_at": now}))


@command.command("abort")
@_place_options
def abort(home: Path, name: str | None, namespace: str | None) -> None:
    """Take the canary back now, without a verdict."""
    _wish(home, name, namespace, lambda wishes: wishes.model_copy(update={"aborted": True}))


@command.command("accept")
@_place_options
@click.option("--user", help="Who rates; one of rollout.acceptance.users.")
@click.option("--task", help="What was tried; one of rollout.acceptance.tasks.")
@click.option("--stars", type=click.IntRange(1, 5), help="The rating, 1 (useless) to 5.")
@click.option("--sign", "approver", help="Sign the acceptance as this one of owner.approvers.")
def accept(
    *,
    home: Path,
    name: str | None,
    namespace: str | None,
    user: str | None,
    task: str | None,
    stars: int | None,
    approver: str | None,
) -> None:
    """Rate the canary as a user, or sign the users' acceptance as an approver."""
    from sextant_pipelines.rollouts import Place
    from sextant_plan.acceptance import Rating, add_rating, sign
    from sextant_plan.errors import UsageError

    plan = Place(home, name, namespace).find()[1].read_plan()

    def accepted(wishes: Wishes) -> Wishes:
        record = wishes.acceptance
        if approver is not None and (user, task, stars) == (None, None, None):
            record = sign(plan, record, approver)
        elif approver is None and user is not None and task is not None and stars is not None:
            record = add_rating(plan, record, Rating(user=user, task=task, stars=stars))
        else:
            raise UsageError("Give --user, --task and --stars for a rating, or --sign alone.")
        return wishes.model_copy(update={"acceptance": record})

    _wish(home, name, namespace, accepted)


@command.command("compare")
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--predictions",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    help="The server's prediction log.",
)
@click.option(
    "--feedback", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The server's feedback log."
)
@json_option
def compare(plan_path: Path, predictions: Path, feedback: Path, as_json: bool) -> int:
    """Compare the challengers of an A/B experiment with the champion by what their answers are worth.

    By the plan's rollout.comparison. May be asked as often as you like: the bounds hold at every look. Exits 0 if every
    challenger is worth more, 1 if one is proved not to be, 3 if one is undecided.
    """
    from dataclasses import asdict

    from sextant_monitoring.comparison import compare_variants
    from sextant_monitoring.quality import LabelLogs
    from sextant_plan.loading import load_plan
    from sextant_plan.verdicts import Verdict, exit_code, worst

    plan = load_plan(plan_path)
    found = compare_variants(plan, LabelLogs(predictions, feedback))
    if as_json:
        print_json([asdict(each) for each in found])
    currency = plan.goal.economics.currency if plan.goal.economics else ""
    for each in found if not as_json else ():
        click.echo(
            f"{each.verdict:8} {each.variant}: {each.worth[1]:.4g} {currency} an answer, champion {each.worth[0]:.4g}; "
            f"gain between {each.low:.4g} and {each.high:.4g} over {each.units[1]} and {each.units[0]} units"
            + (f"; {each.reason}" if each.reason else "")
        )
    if not found and not as_json:
        click.echo("no challenger has answered a unit")
    return int(exit_code(worst(each.verdict for each in found) if found else Verdict.UNKNOWN))


def _wish(home: Path, name: str | None, namespace: str | None, change: Callable[[Wishes], Wishes]) -> None:
    from sextant_pipelines.rollouts import Place

    Place(home, name, namespace).find()[0].wish(change)


def _show(place: Place, *, as_json: bool) -> None:
    from sextant_pipelines.rollouts import describe

    documents, release = place.find()
    state = documents.load()
    if as_json:
        known = state if state is not None and state.digest == release.digest else None
        print_json({"name": release.name, "version": release.version, "state": known and known.model_dump(mode="json")})
        return
    for label, text in describe(release, state):
        click.echo(f"{label:8} {text}")
