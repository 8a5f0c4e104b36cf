"""Who carries out a request to retrain: this machine, in a process of its own, or Kubeflow Pipelines."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from sextant_monitoring.launcher import Outcome, TimeWindow
from sextant_pipelines.cluster_profile import ClusterProfile
from sextant_pipelines.following import ENDED, awaits_traffic, recorded_end
from sextant_pipelines.kfp_server import KfpServer
from sextant_pipelines.local import recorded_code
from sextant_pipelines.submission import prepare, start
from sextant_plan.errors import ExitCode
from sextant_plan.files import LockHeld, locked
from sextant_plan.loading import load_plan

LOG_FOLDER = "trigger"


@dataclass
class LocalLauncher:
    """Runs `sextant run --pipeline retrain` with the request's id as run id; the run outlives this process."""

    plan_path: Path
    home: Path
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, request_id: str, window: TimeWindow) -> None:
        """Start the run unless it goes on or has its verdict; one that broke off is run again."""
        self._run(request_id, "--pipeline", "retrain", "--window", str(window))

    def change_architecture(self, request_id: str) -> None:
        """Start the wider life cycle, as `start` does a retraining."""
        self._run(request_id, "--wider")

    def _run(self, request_id: str, *options: str) -> None:
        if self.outcome(request_id) is not Outcome.BROKEN:
            return
        folder = self.home / LOG_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "sextant_pipelines.cli", "run", str(self.plan_path), "--home", str(self.home)]
        command += [*options, "--run-id", request_id]
        with (folder / f"{request_id}.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._processes[request_id] = process
        threading.Thread(target=process.wait, daemon=True).start()  # so that no ended run stays behind as a zombie

    def outcome(self, request_id: str) -> Outcome:
        """Return how far the run has come, also one that another process started."""
        process = self._processes.get(request_id)
        if process is not None and process.poll() is None:
            return Outcome.RUNNING
        run = self.home / "runs" / request_id
        if not run.is_dir():
            return Outcome.BROKEN
        try:
            with locked(run / ".lock", seconds=0):
                code = recorded_code(run)
        except LockHeld:
            return Outcome.RUNNING
        return Outcome.BROKEN if code is None else Outcome.of(code)


@dataclass(frozen=True)
class KfpLauncher:
    """Submits the retrain pipeline with the request's id as run id; the backend finds a second one of that name."""

    plan_path: Path
    profile: ClusterProfile
    server: KfpServer

    def start(self, request_id: str, window: TimeWindow) -> None:
        """Submit the run; raises what a submission raises."""
        submission = prepare(self.plan_path, self.profile, name="retrain", run_id=request_id, window=str(window))
        start(self.server, submission)

    def change_architecture(self, request_id: str) -> None:
        """Submit the wider life cycle; raises what a submission raises."""
        start(self.server, prepare(self.plan_path, self.profile, name="lifecycle", run_id=request_id, wider=True))

    def outcome(self, request_id: str) -> Outcome:
        """Return how far the run has come, by the backend and then by what the run recorded.

        A version that waits for its canary has passed: the rollout's end is recorded by the controller, not in the run.
        """
        run = self.server.run_named(self.server.experiment(load_plan(self.plan_path).name), request_id)
        if run is None:
            return Outcome.BROKEN
        state = str(self.server.run(run).state or "PENDING")
        if state not in ENDED:
            return Outcome.RUNNING
        if state == "SUCCEEDED":
            return Outcome.PASSED
        run_uri = f"{self.profile.store.rstrip('/')}/{request_id}"
        code, _ = recorded_end(run_uri)
        if code is ExitCode.GATE_UNKNOWN and awaits_traffic(run_uri):
            return Outcome.PASSED
        return Outcome.BROKEN if code is None else Outcome.of(code)
