"""The pictures of the boards in docs/images: from a real server, its watch, and a real Prometheus that reads both.

`python -m sextant_pipelines.demonstrations.board_previews`, from a folder that holds `examples/`; Prometheus has to be
installed. The parcels run as usual; then every price doubles and a supplier comes that training never saw. Boards whose
series come from a rollout or from Kubernetes would be empty here and are not drawn.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sextant_pipelines.demonstrations.belt import Belt, Parcel
from sextant_pipelines.demonstrations.module_command import exit_code_of
from sextant_pipelines.demonstrations.parcel_bench import Bench, set_up
from sextant_pipelines.options import examples_option, require_new
from sextant_plan.errors import ExitCode, InfrastructureError

if TYPE_CHECKING:
    from sextant_plan.schema import Plan

DRAWN = ("overview", "serving", "drift", "quality", "data")
PACE, SENDERS = 40.0, 8
FRESH = "fenmark"  # a supplier that training never saw
RATE = "20s"  # over which rates are drawn, in place of Grafana's own choice
STARTED_WITHIN = 120.0  # seconds, on a busy machine
HOME = Path(".sextant") / "boards"


@click.command("board-previews")
@examples_option
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), default=HOME, show_default=True, help="A new folder."
)
@click.option(
    "--images",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("docs") / "images",
    show_default=True,
    help="Folder of the pictures.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=20),
    default=120.0,
    show_default=True,
    help="Of traffic, before the shift and after it.",
)
def command(examples: Path, folder: Path, images: Path, seconds: float) -> int:
    """Train, serve, watch by Prometheus, shift the input, and draw each board over all of it."""
    require_new(folder, option="--folder", what="the boards are drawn in")
    if shutil.which("prometheus") is None:
        raise InfrastructureError("prometheus is not installed: apt-get install prometheus, or put it on the PATH.")
    bench = set_up(folder, (examples / "selftest" / "plan.yaml").read_text(encoding="utf-8"))
    with _scene(bench) as (belt, metrics):
        begun = time.time()
        time.sleep(seconds)
        belt.change([_shifted(parcel) for parcel in belt.supply])
        time.sleep(seconds)
        _draw(bench.plan, metrics, images, begun, time.time())
    return int(ExitCode.OK)


def _shifted(parcel: Parcel) -> Parcel:
    price = parcel.row["price"]
    return replace(parcel, row={**parcel.row, "supplier": FRESH, "price": price and f"{2 * float(price):.2f}"})


def _draw(plan: Plan, metrics: str, images: Path, begun: float, end: float) -> None:
    from sextant_monitoring.boards import boards
    from sextant_monitoring.preview import draw_board

    for board in boards(plan):
        if board.name in DRAWN:
            path = images / f"board-{board.name}.png"
            draw_board(board, metrics, path, start=begun, end=end, rate=RATE)
            click.echo(str(path), err=True)


@contextmanager
def _scene(bench: Bench) -> Iterator[tuple[Belt, str]]:
    """Run server, traffic, watch and Prometheus until the block ends; yield the traffic and Prometheus' address."""
    from sextant_serving.launch import running_server

    folder, home = bench.folder, bench.folder / "sound" / ".sextant"
    predictions, feedback = folder / "predictions", folder / "feedback.jsonl"
    logs = ("--prediction-log", str(predictions), "--feedback-log", str(feedback))
    exporter, port = _free_port(), _free_port()
    with ExitStack() as stack:
        server = stack.enter_context(running_server(home=home, log=folder / "server.log", arguments=logs))
        belt = stack.enter_context(Belt(server.url, bench.parcels, PACE, labelled=True, senders=SENDERS))
        watch = [sys.executable, "-m", "sextant_pipelines.cli", "watch", str(folder / "sound" / "plan.yaml")]
        watch += ["--home", str(home), "--url", server.url, "--interval", "2", "--export", f"127.0.0.1:{exporter}"]
        watch += ["--predictions", str(predictions), "--feedback", str(feedback)]
        stack.enter_context(_running(watch, folder / "watch.log"))
        _configure(folder, bench.plan, [server.url.removeprefix("http://"), f"127.0.0.1:{exporter}"])
        command = ["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/tsdb"]
        command.append(f"--web.listen-address=127.0.0.1:{port}")
        prometheus = stack.enter_context(_running(command, folder / "prometheus.log"))
        url = f"http://127.0.0.1:{port}"
        _wait(lambda: _answers(f"{url}/-/ready"), prometheus, folder / "prometheus.log")
        yield belt, url


def _configure(folder: Path, plan: Plan, targets: Sequence[str]) -> None:
    """Write a Prometheus configuration that scrapes every second, and the plan's rules, evaluated as often."""
    import yaml

    from sextant_monitoring.rules_file import rule_groups

    rules: dict[str, Any] = rule_groups(plan)
    for group in rules["groups"]:
        group["interval"] = "1s"
    jobs = [{"job_name": "sextant", "static_configs": [{"targets": list(targets)}]}]
    config = {"global": {"scrape_interval": "1s"}, "rule_files": ["rules.yaml"], "scrape_configs": jobs}
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


@contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.terminate()


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + STARTED_WITHIN
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            raise InfrastructureError(f"{process.args!r} did not become ready; see {log}.")
        time.sleep(0.2)


def _answers(url: str) -> bool:
    from sextant_monitoring.http import ServerSilent, get_text

    try:
        get_text(url)
    except ServerSilent:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    raise SystemExit(exit_code_of(command, "sextant_pipelines.demonstrations.board_previews"))
