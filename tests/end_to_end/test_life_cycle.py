"""A life cycle that is killed while it trains, taken up again, ends in one model in service that answers."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sextant_components.deployment.backups import strangers

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]
RUN_ID = "killed-once"
PATIENCE_SECONDS = 240.0


def _read_until(command: subprocess.Popen[str], beginning: str) -> None:
    """Read a command's progress up to a line that begins so."""
    assert command.stderr is not None
    lines = []
    for line in command.stderr:
        lines.append(line)
        if line.startswith(beginning):
            return
    pytest.fail("the command ended early: " + "".join(lines))


@pytest.fixture(scope="module")
def whole_run(shared_workshop: Any, processes_of: Any) -> dict[str, Any]:
    """The result of `sextant run --json` on a run whose first process was killed by SIGKILL in mid-training."""
    run = shared_workshop.home / "runs" / RUN_ID
    with shared_workshop.start("run", "--run-id", RUN_ID) as first:
        _read_until(first, "running  train ")
        first.send_signal(signal.SIGKILL)
        first.communicate()
    processes_of.await_end(run, seconds=PATIENCE_SECONDS)
    second = shared_workshop.run("run", "--run-id", RUN_ID, "--json")
    assert second.returncode == 0, second.stdout + second.stderr
    result: dict[str, Any] = json.loads(second.stdout)
    return {**result, "progress": second.stderr}


def test_every_criterion_passes_with_its_evidence(whole_run: dict[str, Any]) -> None:
    """The taken-up run ends with a pass, a value and a count for each criterion."""
    assert {criterion["verdict"] for criterion in whole_run["criteria"]} == {"pass"}
    assert all(criterion["value"] is not None and criterion["n"] > 0 for criterion in whole_run["criteria"])


def test_all_eleven_steps_finished(whole_run: dict[str, Any]) -> None:
    """The reader sees each step begin and end."""
    steps = [step["step"] for step in whole_run["steps"] if step["finished"]]
    assert steps == (
        "plan ingest verify prepare train optimise evaluate decide register roll_out watch".split()  # noqa: SIM905
    )
    assert all(f"pass     {step} " in whole_run["progress"] for step in steps)


def test_the_dossier_is_one_file_that_names_the_plan(whole_run: dict[str, Any]) -> None:
    """It is there, and it is of this plan."""
    page = Path(whole_run["dossier"]).read_text(encoding="utf-8")
    assert whole_run["plan_hash"].removeprefix("sha256:")[:12] in page
    assert "<script src" not in page


def test_one_version_is_registered_and_in_service(whole_run: dict[str, Any], shared_workshop: Any) -> None:
    """Being killed left no second version behind, and active.json names the one there is."""
    active = json.loads((shared_workshop.home / "active.json").read_bytes())
    with sqlite3.connect(shared_workshop.home / "mlflow.db") as registry:
        versions = registry.execute("select version from model_versions").fetchall()
    assert [str(version) for (version,) in versions] == [active["version"]]
    assert active["previous"] is None


@pytest.mark.usefixtures("whole_run")
def test_a_backup_knows_all_that_a_life_cycle_leaves_in_the_home(shared_workshop: Any) -> None:
    """Each of its files and folders is either in a backup or known to be made again."""
    assert strangers(shared_workshop.home) == []


def test_a_run_with_a_verdict_is_not_run_again(whole_run: dict[str, Any], shared_workshop: Any) -> None:
    """Evidence is not written over: the id of a concluded run is refused."""
    again = shared_workshop.run("run", "--run-id", RUN_ID)
    assert again.returncode == 2
    assert "has its verdict" in again.stderr


def test_report_repeats_the_run(whole_run: dict[str, Any], shared_workshop: Any) -> None:
    """`sextant report` finds the newest run and ends as it did."""
    report = shared_workshop.run("report", "--json")
    assert report.returncode == 0
    assert json.loads(report.stdout)["criteria"] == whole_run["criteria"]


def test_the_evidence_is_whole(whole_run: dict[str, Any], shared_workshop: Any) -> None:
    """Every digest holds, and the attempt that was killed is no gap once the step ran to its end."""
    verified = shared_workshop.run("report", "--verify", "--json")
    assert verified.returncode == 0, verified.stdout
    assert json.loads(verified.stdout)["records"] > 60


def test_every_task_of_the_process_model_has_a_word(whole_run: dict[str, Any]) -> None:
    """No record of a whole run is outside the catalogue, and each task has a verdict or a reason."""
    from sextant_components.closing.dossier.crisp import task_results, unclaimed
    from sextant_components.closing.dossier.facts import read_facts
    from sextant_components.runs.context import open_run

    facts = read_facts(open_run(whole_run["run"]))
    assert [f"{record.step}/{record.task}" for record in unclaimed(facts)] == []
    silent = [each.task.id for each in task_results(facts) if each.reason.startswith("No ")]
    assert silent == []


def test_the_server_answers_by_every_protocol(whole_run: dict[str, Any], shared_workshop: Any) -> None:
    """`sextant serve` and `sextant predict`: four protocols, one answer, the right one, a label kept, a clean stop."""
    picture = next(line for line in (shared_workshop.folder / "data" / "table.csv").read_text().splitlines()[1:])
    names = (shared_workshop.folder / "data" / "table.csv").read_text().splitlines()[0].split(",")
    row = dict(zip(names, picture.split(","), strict=True))
    file = shared_workshop.folder / "data" / "images" / row["image"]
    log = shared_workshop.folder / "feedback.jsonl"
    with shared_workshop.start("serve", "--port", "0", "--feedback-log", str(log)) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        labels = []
        for protocol in ("v1", "v2", "v2-binary", "picture"):
            asked = shared_workshop.run("predict", str(file), "--url", url, "--protocol", protocol, "--json")
            assert asked.returncode == 0, asked.stderr
            answers = json.loads(asked.stdout)
            labels += [answer["label"] for answer in answers]
        truth = json.dumps({"prediction_id": answers[0]["prediction_id"], "label": row["label"]}).encode()
        urllib.request.urlopen(f"{url}/feedback", data=truth).close()
        refused = shared_workshop.run("predict", str(file), "--url", url, "--set", "nonsense=1")
        server.terminate()
        server.communicate()
    assert labels == [row["label"]] * 4
    assert json.loads(log.read_text())["label"] == row["label"]
    assert refused.returncode == 2
    assert server.returncode == 0


FAILURES = """
failure:
  - {mode: slow-server, fallback: "503 after the deadline", recover_within: 1h, alert: latency, drill: slow-model}
  - {mode: dead-pod, fallback: "another is started", recover_within: 1h}
  - {mode: dark, fallback: "keep serving, retrain", recover_within: 1h, alert: input-drift, drill: drift}
"""


def test_the_failures_of_the_plan_are_noticed_and_over(whole_run: dict[str, Any], shared_workshop: Any) -> None:
    """Each is caused for real beside the version in service, whose home is read and not written but for the drills."""
    assert whole_run["steps"]
    plan = shared_workshop.folder / "failures.yaml"
    plan.write_text(shared_workshop.plan.read_text(encoding="utf-8") + FAILURES, encoding="utf-8")
    names = ["slow-server", "dead-pod", "dark", "bad-model", "restore-registry", "restore-objects"]
    before = (shared_workshop.home / "active.json").read_bytes()
    done = shared_workshop.run("drill", *names, "--plan", plan.name, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    held = {each["drill"]: each for each in json.loads(done.stdout)}
    assert set(held) == {"slow-model", "dead-pod", "drift", "bad-model", "restore-registry", "restore-objects"}
    # While bad bundles are refused and inputs shift, the version in service answers everything.
    assert held["bad-model"]["failed"] == held["drift"]["failed"] == 0
    assert held["dead-pod"]["failed"] > 0, "a killed server must be felt, or the drill killed nothing"
    assert (shared_workshop.home / "active.json").read_bytes() == before
    with closing(sqlite3.connect(shared_workshop.home / "mlflow.db")) as database:
        (notes,) = database.execute("select count(*) from experiments where name like '%sextant-drill%'").fetchone()
    assert notes == 0, "a drill wrote into the live registry"
    listed = shared_workshop.run("drill", "--plan", plan.name)
    assert listed.stdout.count("pass 0.0 d ago") == len(names)
