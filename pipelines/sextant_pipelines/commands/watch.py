"""`sextant watch`: a running server by the plan's rules, live in the terminal."""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from sextant_pipelines.options import home_option, json_option, print_json
from sextant_plan.errors import UsageError

if TYPE_CHECKING:
    from sextant_monitoring.probe import Prober
    from sextant_monitoring.quality import LabelLogs
    from sextant_monitoring.watcher import Judged, Look, Watcher
    from sextant_plan.schema import Plan

CLEAR = "\x1b[2J\x1b[H"
MARKS = {"pass": "green", "fail": "red", "unknown": "yellow"}
PAST_WINDOWS = 24  # of quality in the report
LOOKS_KEPT = 5760  # for the report: a day at the default interval


@click.command("watch")
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@home_option
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="Address of the server.")
@click.option(
    "--interval", type=click.FloatRange(min=0.1), default=15.0, show_default=True, help="Seconds between two looks."
)
@click.option("--looks", type=click.IntRange(min=1), help="Stop after so many looks. Default: until interrupted.")
@click.option(
    "--predictions",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The server's prediction log, for quality by delayed labels; goes with --feedback.",
)
@click.option(
    "--feedback",
    type=click.Path(path_type=Path),
    help="The server's feedback log (JSON lines), or a folder with those of several servers (*.jsonl).",
)
@click.option(
    "--logs",
    "logs_at",
    metavar="ADDRESS",
    help="Where the servers' pods ship both logs, such as s3://logs, instead of --predictions and --feedback.",
)
@click.option(
    "--probe/--no-probe",
    default=True,
    help="Send the golden requests of the model that --home names, each once in a window.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File with the bearer token that the server asks for.",
)
@click.option(
    "--alerts-to",
    metavar="URL",
    help="Tell this webhook at every look which alerts fire, as Alertmanager would; sextant trigger takes them. The "
    "watch then outlives its server.",
)
@click.option(
    "--alerts-token-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File with the bearer token that --alerts-to asks for.",
)
@click.option(
    "--run",
    "run_folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Run that trained the model in service; its staleness curve tells what age has cost (staleness_loss).",
)
@click.option(
    "--export",
    metavar="HOST:PORT",
    help="Show quality, probe and staleness to Prometheus on this address. The watch then outlives its server.",
)
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="HTML report to write at the end.")
@json_option
def command(
    *,
    plan_path: Path,
    home: Path,
    url: str,
    interval: float,
    looks: int | None,
    predictions: Path | None,
    feedback: Path | None,
    logs_at: str | None,
    probe: bool,
    token_file: Path | None,
    alerts_to: str | None,
    alerts_token_file: Path | None,
    run_folder: Path | None,
    export: str | None,
    report: Path | None,
    as_json: bool,
) -> int:
    """Watch the server in service by the rules of PLAN, as Prometheus would.

    A rate needs two looks. Exits with the last look's verdict: 0 all hold, 1 one is violated, 3 one is unknown;
    4 if the server cannot be reached.
    """
    from sextant_monitoring.ageing import read_loss_per_day
    from sextant_monitoring.exporter import Exporter
    from sextant_monitoring.local_alerts import LocalAlerts
    from sextant_monitoring.watcher import Look, Watcher
    from sextant_plan.loading import load_plan
    from sextant_plan.verdicts import exit_code

    plan = load_plan(plan_path)
    shipped = None
    if logs_at is not None:
        scratch = click.get_current_context().with_resource(TemporaryDirectory(prefix="sextant-logs-"))
        shipped = ShippedLogs(plan, logs_at, PAST_WINDOWS if report else 1, Path(scratch))
    logs = _logs(predictions, feedback, shipped)
    token, alerts_token = _token(token_file), _token(alerts_token_file)
    alerts = LocalAlerts(plan) if alerts_to is not None else None
    ageing = read_loss_per_day(run_folder) if run_folder is not None else None
    fetch = shipped.fetch if shipped is not None else None
    watcher = Watcher(plan, url, logs=logs, fetch=fetch, ageing=ageing, token=token)
    exporter, seen = Exporter(plan), deque[Look](maxlen=LOOKS_KEPT)
    done, outlive = 0, alerts is not None or export is not None
    if export is not None:
        click.echo(f"metrics on port {exporter.start(*_address(export))}", err=True)
    try:
        while True:
            if probe:
                watcher.prober = _prober(home, plan, url, token, watcher.prober, outlive=outlive)
            look = _look(watcher, outlive=outlive)
            exporter.show(look)
            if alerts is not None and alerts_to is not None:
                _tell(alerts_to, alerts.update(look), alerts_token)
            seen.append(look)
            done += 1
            _show(plan, look, as_json)
            if done == looks:
                break
            time.sleep(interval)
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
    finally:
        exporter.stop()
    if not seen:
        return 130
    if report is not None:
        if fetch is not None:
            fetch(seen[-1].at)  # which may have been a look in vain, after which a window has become due
        _write_report(report, watcher, list(seen), logs)
    return int(exit_code(seen[-1].verdict))


def _token(path: Path | None) -> str | None:
    return path.read_text(encoding="utf-8").strip() if path is not None else None


def _look(watcher: Watcher, *, outlive: bool) -> Look:
    """Look once; with `outlive` a server that does not answer is a finding, else the error that it raises."""
    from sextant_monitoring.http import ServerSilent

    try:
        return watcher.look(time.time())
    except ServerSilent:
        if not outlive:
            raise
        return watcher.look_in_vain(time.time())


def _tell(url: str, alerts: list[dict[str, Any]], token: str | None) -> None:
    """Send alerts, if there are any; a receiver that is away hears of what still fires at the next look."""
    from sextant_monitoring.http import ServerSilent
    from sextant_monitoring.local_alerts import send_alerts

    if not alerts:
        return
    try:
        send_alerts(url, alerts, token)
    except ServerSilent as error:
        click.echo(str(error), err=True)


class ShippedLogs:
    """What pods shipped of the last `windows` whose labels are due, below an address; kept in `folder`."""

    def __init__(self, plan: Plan, base: str, windows: int, folder: Path) -> None:
        from sextant_components.monitoring.log_store import address_of

        self._plan, self._address, self._windows = plan, address_of(base, plan.name), windows
        self._folder = folder

    @property
    def logs(self) -> LabelLogs:
        """Where they lie."""
        from sextant_monitoring.quality import LabelLogs
        from sextant_plan.feedback import FEEDBACK_LOGS
        from sextant_plan.prediction_log import PREDICTION_LOG

        return LabelLogs(self._folder / PREDICTION_LOG, self._folder / FEEDBACK_LOGS)

    def fetch(self, now: float) -> bool:
        """Bring the folder up to `now` (Unix time) and tell whether it is; a store that is away is told on stderr."""
        from sextant_components.deployment.store_backups import StoreFailed
        from sextant_components.monitoring.log_store import fetch_logs
        from sextant_monitoring.quality import last_due_window, windows_before

        last = last_due_window(self._plan, now)
        try:
            fetch_logs(self._address, self._folder, windows_before(last, self._windows), now=now)
        except StoreFailed as error:
            click.echo(str(error), err=True)
            return False
        return True


def _logs(predictions: Path | None, feedback: Path | None, shipped: ShippedLogs | None) -> LabelLogs | None:
    from sextant_monitoring.quality import LabelLogs

    if shipped is not None:
        if predictions is not None or feedback is not None:
            raise UsageError("--logs stands for --predictions and --feedback: give it or both of them.")
        return shipped.logs
    if predictions is None or feedback is None:
        if predictions is not feedback:
            raise UsageError("--predictions and --feedback go together: labels are joined to predictions by their id.")
        return None
    return LabelLogs(predictions, feedback)


def _prober(
    home: Path, plan: Plan, url: str, token: str | None, known: Prober | None, *, outlive: bool
) -> Prober | None:
    """Return the prober of the bundle that is in service under the plan's name, if there is one.

    It is the one that is known until another version takes over. Where nobody can tell which that is, the one that is
    known goes on with `outlive`.
    """
    from sextant_components.deployment.in_service import model_in_service
    from sextant_monitoring.probe import Prober
    from sextant_plan.errors import InfrastructureError
    from sextant_serving.errors import NothingActive

    try:
        active = model_in_service(home, plan.name)
    except NothingActive:
        return None
    except InfrastructureError as error:
        if not outlive:
            raise
        click.echo(str(error), err=True)
        return known
    if active.name != plan.name:
        return None
    if known is not None and known.version == active.version:
        return known
    return Prober(url.rstrip("/"), home / active.bundle, active.version, every=plan.monitoring.window, token=token)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise UsageError(f"--export {text}: write HOST:PORT, such as 127.0.0.1:9109.")
    return host, int(port)


def _show(plan: Plan, look: Look, as_json: bool) -> None:
    if as_json:
        print_json({"at": look.at, "seconds": look.seconds, "rules": [_as_json(each) for each in look.judged]})
        return
    lines = [f"{plan.name}: {look.seconds:.0f} s watched, {time.strftime('%H:%M:%S', time.localtime(look.at))}", ""]
    for each in look.judged:
        estimate = each.worst.estimate if each.worst is not None else None
        value = f"{estimate.value:10.4g}" if estimate is not None else " " * 10
        verdict = click.style(f"{each.verdict:8}", fg=MARKS[each.verdict])
        lines.append(f"{verdict} {value}  {each.name:20.20} {each.rule.requirement}")
    if look.probed is not None:
        lines += ["", f"golden requests: {look.probed.right} of {look.probed.sent} as sealed"]
    lines += [
        f"labels of {each.target[1]} {each.target[2]}: {each.labelled} of {each.due} ({each.join_rate:.1%})"
        for each in look.quality
    ]
    if broken := max((each.broken_lines for each in look.quality), default=0):
        lines.append(f"broken lines of the feedback log, passed over: {broken}")
    live = sys.stdout.isatty()
    click.echo((CLEAR if live else "") + "\n".join(lines))


def _as_json(judged: Judged) -> dict[str, object]:
    worst = judged.worst
    estimate = worst.estimate if worst is not None else None
    return {
        "rule": judged.name,
        "requirement": judged.rule.requirement,
        "verdict": judged.verdict,
        "target": list(worst.target) if worst is not None else None,
        "value": estimate.value if estimate is not None else None,
        "n": estimate.n if estimate is not None else None,
    }


def _write_report(path: Path, watcher: Watcher, seen: list[Look], logs: LabelLogs | None) -> None:
    from sextant_monitoring.quality import last_due_window, measure_quality, windows_before
    from sextant_monitoring.watch_report import render_report

    plan = watcher.plan
    past = windows_before(last_due_window(plan, seen[-1].at), PAST_WINDOWS) if logs is not None else []
    quality = [each for window in past if logs is not None for each in measure_quality(plan, logs, window)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_report(plan, seen, quality, watcher.sealed()), encoding="utf-8")
    click.echo(str(path), err=True)
