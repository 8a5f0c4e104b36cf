"""A drift from its first picture to its end, without a cluster: alert, retraining, gates, canary, promotion, silence.

`python -m sextant_pipelines.demonstrations.drift_demo`, from a folder that holds `examples/`. Everything in it is what
a user runs: the server follows the home, the watcher judges by the plan's rules, its alerts go to the trigger service
over HTTP with a token, the trigger starts `sextant run --pipeline retrain`, and `sextant rollout start` splits the
traffic.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import click

from sextant_pipelines.demonstrations.belt import Belt, read_parcels, write_table
from sextant_pipelines.demonstrations.module_command import exit_code_of
from sextant_pipelines.demonstrations.vigil import Vigil
from sextant_pipelines.options import examples_option, require_new
from sextant_plan.errors import ExitCode, InfrastructureError, UsageError

if TYPE_CHECKING:
    from sextant_monitoring.trigger_service import TriggerServer
    from sextant_pipelines.launchers import LocalLauncher
    from sextant_plan.schema import Plan

FIRST_ROWS, LATER_ROWS = 2000, 3000
PACE, SLOW_PACE = 80.0, 10.0  # parcels a second; slower while this machine also trains
LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 3600.0  # ten minutes are enough; a machine that does five things besides gets as far, only later
LABELLED_ROWS = 1500  # since the shift, before the trigger is told: 20 s of the belt, and enough to prove the limits
FIRST, SECOND = "1", "2"  # versions, as the registry numbers them
DRIFT = "input-drift"  # the criterion of examples/drift/plan.yaml whose end is the end of the story
DRAWN = "drawn"  # written last, with the number of rows
HOME = Path(".sextant") / "drift-demo"


class StoryBroke(InfrastructureError):
    """A part of the demonstration that did not come in time, or ended otherwise than it should."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the demonstration stopped: {what}")


@dataclass
class Story:
    """What has happened, with the seconds since the beginning and since the shift; told as it happens."""

    began: float = field(default_factory=time.monotonic)
    shifted: float | None = None
    deadline: float = PATIENCE_SECONDS

    def tell(self, text: str) -> None:
        """Print one event."""
        now = time.monotonic()
        since = f"shift +{now - self.shifted:4.0f} s" if self.shifted is not None else " " * 13
        click.echo(f"{now - self.began:5.0f} s  {since}  {text}")

    def wait_for(self, what: str, step: Callable[[], bool]) -> None:
        """Repeat `step` until it is true. Raises StoryBroke once the time is over."""
        while not step():
            if time.monotonic() - self.began > self.deadline:
                raise StoryBroke(f"{what} did not happen within {self.deadline:.0f} s of the beginning")
            time.sleep(LOOK_SECONDS)


@click.command("drift-demo")
@examples_option
@click.option(
    "--home", type=click.Path(path_type=Path, file_okay=False), default=HOME, show_default=True, help="A new folder."
)
@click.option(
    "--within",
    type=click.FloatRange(min=1),
    default=PATIENCE_SECONDS,
    show_default=True,
    help="Seconds for the whole story.",
)
def command(examples: Path, home: Path, within: float) -> int:
    """Train, serve, shift the input, and follow the drift until a new version has ended it."""
    require_new(home, option="--home", what="the demonstration needs")
    story = Story(deadline=within)
    plan_path = examples / "drift" / "plan.yaml"
    data = plan_path.parent / "data"
    _draw(data)
    story.tell(f"drew {FIRST_ROWS} parcels of the lit hall, and {LATER_ROWS} of the dark one with a new supplier")
    first = _sextant("run", str(plan_path), "--home", str(home), "--run-id", "first")
    said = first.communicate()[1]
    if first.returncode != 0:
        raise StoryBroke(f"the first life cycle ended with exit code {first.returncode}: {said.strip()[-500:]}")
    story.tell("the life cycle passed its gates; version 1 is in service")
    _live_through(story, plan_path, home, data)
    story.tell(f"dossiers: {home}/runs/first/dossier.html and those beside it")
    return int(ExitCode.OK)


def _live_through(story: Story, plan_path: Path, home: Path, data: Path) -> None:
    from sextant_plan.loading import load_plan
    from sextant_serving.launch import running_server

    plan = load_plan(plan_path)
    with (
        running_server(home=home, log=home / "server.log") as server,
        Belt(server.url, read_parcels(data / "first"), PACE, labelled=True) as belt,
        _trigger(plan, plan_path, home) as retraining,
    ):
        watch = Vigil(plan, server.url)
        story.wait_for("a healthy window", lambda: watch.holds(DRIFT, FIRST))
        story.tell(f"a window without drift: {watch.words(DRIFT, FIRST)}")
        belt.change(read_parcels(data / "later"))
        story.shifted = time.monotonic()
        story.tell("two thirds of the lamps go out, and supplier fenmark begins to send")
        request = _retrained(story, watch, belt, retraining, data)
        _roll_out(story, belt, home, request)
        belt.pace = PACE
        watch.forget()
        story.wait_for("a window of version 2 without drift", lambda: watch.holds(DRIFT, SECOND))
        story.tell(f"the drift is gone: {watch.words(DRIFT, SECOND)}; alerts that fire: {watch.firing or 'none'}")
        story.tell(f"requests by status: {dict(belt.statuses)}")


def _retrained(story: Story, watch: Vigil, belt: Belt, retraining: Retraining, data: Path) -> str:
    """Watch until the alert fires and the trigger has started a retraining, and until that has passed its gates."""
    from sextant_monitoring.launcher import Outcome

    story.wait_for("the alert", lambda: DRIFT in watch.look())
    story.tell(f"alert {DRIFT} fires: {watch.words(DRIFT, FIRST)}")
    story.tell(f"accuracy by labels meanwhile: {watch.words('accuracy', FIRST)}")

    def asked() -> bool:
        watch.look()
        # Labels come back all the time, so the table that a retraining reads is as long as the belt has run.
        write_table(data, belt.past())
        return len(belt.past()) >= LABELLED_ROWS and retraining.ask(watch.told) is not None

    story.wait_for("the order to retrain", asked)
    request = retraining.ask(watch.told)
    assert request is not None
    belt.pace = SLOW_PACE
    story.tell(f"the trigger's policy is met; {request} retrains on the parcels since the shift")
    story.wait_for("the retraining's end", lambda: retraining.launcher.outcome(request) is not Outcome.RUNNING)
    _require_staged(retraining.launcher.home, request)
    story.tell("the retraining passed its gates; version 2 is staged as a canary")
    return request


def _require_staged(home: Path, request: str) -> None:
    """Raise StoryBroke unless the run of a request ended with a canary that waits for traffic."""
    from sextant_components.runs.context import open_run
    from sextant_pipelines.local import recorded_cause
    from sextant_pipelines.rollouts import staged_rollout

    run = home / "runs" / request
    try:
        _, release = staged_rollout(home, open_run(str(run)).plan.name)
    except UsageError as error:
        raise StoryBroke(f"{request} staged no canary ({recorded_cause(run) or 'a gate'}); see {run}") from error
    if release.run_id != request:
        raise StoryBroke(f"{request} staged no canary; the one there is of {release.run_id}")


def _roll_out(story: Story, belt: Belt, home: Path, request: str) -> None:
    """Run the canary that the retraining has staged, on the belt's traffic, to its end."""
    process = _sextant("rollout", "start", "--home", str(home), "--port", "0")
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        if line.startswith("serving "):
            belt.go_through(line.split()[3].rstrip(";"))
            belt.pace = PACE
        if line.partition(", look")[0] != told:  # each look is a line of its own
            told = line.partition(", look")[0]
            story.tell(f"rollout: {line.strip()}")
    if process.wait() != 0:
        raise StoryBroke(f"the canary of {request} ended with exit code {process.returncode}: sextant rollout status")


@dataclass(frozen=True)
class Retraining:
    """The trigger service and what it launches."""

    server: TriggerServer
    launcher: LocalLauncher

    def ask(self, alerts: Sequence[dict[str, Any]]) -> str | None:
        """Send alerts to the service; return the request that answers them, if one does."""
        from sextant_monitoring.local_alerts import send_alerts
        from sextant_monitoring.trigger_service import ALERTS

        token = self.server.token_file.read_text(encoding="utf-8").strip()
        answer = send_alerts(self.server.url + ALERTS, alerts, token)
        return next((each["request_id"] for each in answer["decisions"] if each["request_id"] is not None), None)


@contextmanager
def _trigger(plan: Plan, plan_path: Path, home: Path) -> Iterator[Retraining]:
    """Run the trigger service with a token of its own for the duration of the block."""
    from sextant_monitoring.trigger import Trigger
    from sextant_monitoring.trigger_service import TriggerServer
    from sextant_pipelines.launchers import LocalLauncher

    token_file = home / "trigger.token"
    token_file.touch(mode=0o600)
    token_file.write_text(token_hex(16), encoding="utf-8")
    launcher = LocalLauncher(plan_path.resolve(), home.resolve())
    with TriggerServer(("127.0.0.1", 0), Trigger(plan, home, launcher), token_file) as server:
        thread = threading.Thread(target=server.serve_forever, name="trigger")
        thread.start()
        try:
            yield Retraining(server, launcher)
        finally:
            server.shutdown()
            thread.join()


def _sextant(*arguments: str) -> subprocess.Popen[str]:
    """Start a `sextant` command; its standard error can be read by line."""
    command = [sys.executable, "-m", "sextant_pipelines.cli", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _draw(data: Path) -> None:
    """Draw the parcels of both months unless they lie there, start with the first, and let the scales know all."""
    import polars as pl

    months = ((data / "first", FIRST_ROWS, "none"), (data / "later", LATER_ROWS, "dark-and-new-supplier"))
    for out, rows, shift in months:
        if (out / DRAWN).exists() and (out / DRAWN).read_text(encoding="utf-8") == f"{rows}\n":
            continue
        made = subprocess.run(
            [sys.executable, "-m", "sextant_examples.parcels", str(out), "--rows", str(rows), "--shift", shift],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if made.returncode:
            raise StoryBroke(f"{out}: the parcels could not be drawn: {made.stderr.strip()[-500:]}")
        (out / DRAWN).write_text(f"{rows}\n", encoding="utf-8")
    write_table(data, [(parcel, None) for parcel in read_parcels(data / "first")])
    measures = [pl.read_parquet(out / "measures.parquet") for out, *_ in months]
    pl.concat(measures).write_parquet(data / "measures.parquet")


if __name__ == "__main__":
    raise SystemExit(exit_code_of(command, "sextant_pipelines.demonstrations.drift_demo"))
