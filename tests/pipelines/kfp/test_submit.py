"""Submitting to a stand-in of the KFP API server: what is sent, what is refused before, and how a run's end is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sextant_components.runs.repository import read_repository
from sextant_pipelines.cli import main
from sextant_pipelines.cluster_profile import load_profile
from sextant_pipelines.compile import split_documents
from sextant_pipelines.following import Follower
from sextant_pipelines.kfp_server import KfpServer, ServerRefused, ServerUnreachable
from sextant_pipelines.submission import BadArguments, Package, check_arguments, prepare, start
from sextant_plan.errors import ExitCode

GOLDEN = Path(__file__).with_name("golden")
# As KFP 2.17 tells of a failed step: the step, its container's attempts, and the group around it, without a message.
FAILED_TASKS = [
    {"task_id": "2", "display_name": "stages", "state": "FAILED", "end_time": "2026-01-01T00:00:05Z"},
    {"task_id": "7", "display_name": "train", "state": "FAILED", "end_time": "2026-01-01T00:00:10Z"},
    {
        "task_id": "8",
        "display_name": "executor",
        "state": "FAILED",
        "end_time": "2026-01-01T00:00:09Z",
        "child_tasks": [{"pod_name": "lifecycle-x-41"}, {"pod_name": "lifecycle-x-42"}],
    },
]
Submit = Callable[..., int]


@pytest.fixture
def submit(backend: Any, plan_path: Path, write_profile: Callable[..., Path]) -> Submit:
    """Run `sextant submit` in this process against the stand-in."""
    profile = write_profile()

    def call(*options: str) -> int:
        return main(["submit", str(plan_path), "--profile", str(profile), "--host", backend.url, *options])

    return call


def _follow(backend: Any, store: Path, **options: Any) -> tuple[Any, str]:
    import io

    backend.kept["runs"].append({"run_id": "r"})
    out = io.StringIO()
    follower = Follower(KfpServer(backend.url), "r", out, poll=0.001, patience=options.pop("patience", 5.0))
    return follower.follow(str(store), timeout=options.pop("timeout", 30.0)), out.getvalue()


def test_a_run_is_laid_out_uploaded_and_started(backend: Any, submit: Submit, tmp_path: Path, plan_path: Path) -> None:
    """The store has the plan as written, the backend the package and two text arguments; a success exits 0."""
    assert submit("--run-id", "one") == 0
    (run,) = backend.kept["runs"]
    run_uri = f"{tmp_path}/store/one"
    assert run["runtime_config"]["parameters"] == {"run_uri": run_uri, "run_id": "one"}
    assert (Path(run_uri) / "plan.yaml").read_bytes() == plan_path.read_bytes()
    described = json.loads((Path(run_uri) / "run.json").read_text())
    found = read_repository(plan_path)
    assert described.pop("repository") == (found.model_dump() if found else None)
    places = {"plan_dir": "/data", "home": "/var/lib/sextant"}
    assert described == {"run_id": "one", "pipeline": "lifecycle", "wider": False, **places}
    ir, platform = split_documents(backend.uploads[0])
    assert ir["pipelineInfo"]["name"] == "lifecycle"
    assert platform is not None


def test_the_same_package_is_uploaded_once_and_the_same_run_started_once(backend: Any, submit: Submit) -> None:
    """A second submission of a run finds it; another run uses the version that is there."""
    assert [submit("--run-id", name, "--detach") for name in ("one", "one", "two")] == [0, 0, 0]
    assert len(backend.uploads) == 1
    assert [run["display_name"] for run in backend.kept["runs"]] == ["one", "two"]


@pytest.mark.parametrize(
    ("pipeline", "strategy", "warned"),
    [
        ("lifecycle", "immediate", True),
        ("retrain", "immediate", True),
        ("monitor", "immediate", False),
        ("lifecycle", "canary", False),
    ],
)
def test_a_promotion_that_no_server_would_receive_is_warned_of(
    *, plan_path: Path, write_profile: Callable[..., Path], tmp_path: Path, pipeline: Any, strategy: str, warned: bool
) -> None:
    """Servers of a cluster follow the InferenceService, which a rollout controller alone changes."""
    plan = yaml.safe_load(plan_path.read_text("utf-8"))
    plan["rollout"] = {"strategy": strategy}
    (errors,) = [each for each in plan["criteria"] if each["metric"] == "error_rate"]
    errors["enforce"] = ["gate", "canary"] if strategy == "canary" else ["gate"]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan), encoding="utf-8")
    window = "2026-01-01/2026-01-02" if pipeline in {"retrain", "monitor"} else ""
    prepared = prepare(
        tmp_path / "plan.yaml", load_profile(write_profile()), name=pipeline, run_id="one", window=window
    )
    assert ("no InferenceService receives it" in (prepared.warning or "")) is warned


def test_the_warning_goes_to_standard_error(submit: Submit, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit("--run-id", "one", "--dry-run") == 0
    told = capsys.readouterr()
    assert told.err.startswith("warning: rollout.strategy is immediate")
    assert json.loads(told.out)["experiment"] == "tiny"


@pytest.mark.parametrize("pipeline", ["monitor", "ingest"])
def test_a_schedule_names_each_run_by_its_start(backend: Any, submit: Submit, tmp_path: Path, pipeline: str) -> None:
    """KFP fills the time into both arguments unless a version is named; the template lies beside the runs."""
    assert submit("--pipeline", pipeline, "--run-id", "watch", "--schedule", "0 0 * * * *") == 0
    (recurring,) = backend.kept["recurringruns"]
    assert recurring["runtime_config"]["parameters"] == {
        "run_uri": f"{tmp_path}/store/watch/[[CurrentTime]]",
        "run_id": "watch-[[CurrentTime]]",
    }
    assert list(recurring["pipeline_version_reference"]) == ["pipeline_id"]
    assert recurring["trigger"] == {"cron_schedule": {"cron": "0 0 * * * *"}}
    assert recurring["no_catchup"] is True
    assert (tmp_path / "store" / "watch" / "schedule" / "run.json").exists()
    assert submit("--pipeline", pipeline, "--run-id", "watch", "--schedule", "0 0 * * * *") == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--schedule", "0 3 * * *"], "six fields"),
        (["--pipeline", "retrain", "--schedule", "0 0 3 * * *", "--window", "2026-01-01/2026-01-02"], "one window"),
        (["--pipeline", "retrain"], "--window"),
        (["--window", "2026-01-01/2026-01-02"], "answers to no window"),
        (["--resume", "r"], "--run-id"),
        (["--run-id", "It's"], "no run id"),
        (["--host", "ml-pipeline.kubeflow:8888"], "begins with http://"),
    ],
    ids=[
        "five-fields",
        "scheduled-retraining",
        "no-window",
        "lifecycle-window",
        "resume-unnamed",
        "bad-id",
        "bad-host",
    ],
)
def test_wrong_usage_reaches_no_server(
    backend: Any, submit: Submit, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    """Each is exit 2 with the reason, before the store or the backend is touched."""
    assert submit(*options) == 2
    assert said in capsys.readouterr().err
    assert backend.requests == []


def test_a_dry_run_touches_nothing(
    backend: Any, submit: Submit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It compiles, checks and shows; no request, no file."""
    assert submit("--dry-run", "--run-id", "one") == 0
    assert json.loads(capsys.readouterr().out)["arguments"]["run_id"] == "one"
    assert backend.requests == []
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"run_uri": "/r"}, "run_id: this parameter is missing"),
        ({"run_uri": "/r", "run_id": "r", "seed": "1"}, "seed: the pipeline has no such parameter"),
        ({"run_uri": "/r", "run_id": "{{$.x}}"}, "run_id: a placeholder"),
        ({"run_uri": "/" * 10_001, "run_id": "r"}, "run_uri: a placeholder, or over 10,000"),
    ],
    ids=["missing", "unknown", "placeholder", "long"],
)
def test_arguments_are_checked_here_because_the_backend_does_not(
    pipeline_text: Callable[[str], str], arguments: dict[str, str], said: str
) -> None:
    """A run with a wrong argument would start and fail minutes later."""
    with pytest.raises(BadArguments, match=said):
        check_arguments(Package("lifecycle", pipeline_text("lifecycle")), arguments)


@pytest.mark.parametrize(
    ("version", "multi_user", "code", "said"),
    [
        ("3.0.0", False, 4, "the backend is KFP 3.0.0"),
        ("2.15.1", False, 0, "tested with equal ones"),
        ("unknown", False, 0, ""),
        ("2.17.2", True, 2, "--namespace"),
    ],
    ids=["major", "minor", "unknown", "many-users"],
)
def test_version_skew_and_namespace(
    *,
    backend: Any,
    submit: Submit,
    capsys: pytest.CaptureFixture[str],
    version: str,
    multi_user: bool,
    code: int,
    said: str,
) -> None:
    """Another major version is refused, another minor one is said, and many users need a namespace."""
    backend.version, backend.multi_user = version, multi_user
    assert submit("--run-id", "one", "--detach") == code
    assert said in capsys.readouterr().err


def test_a_namespace_goes_with_every_request_that_needs_it(backend: Any, submit: Submit) -> None:
    """The stand-in refuses a listing without it, as the server does for many users."""
    backend.multi_user = True
    assert submit("--run-id", "one", "--detach", "--namespace", "ada") == 0
    assert backend.kept["experiments"][0]["namespace"] == "ada"
    assert backend.kept["pipelines"][0]["namespace"] == "ada"


@pytest.mark.parametrize("refused", [("GET", "/runs"), ("POST", "/runs"), ("POST", "/experiments")])
def test_a_missing_permission_is_named(
    backend: Any, submit: Submit, capsys: pytest.CaptureFixture[str], refused: tuple[str, str]
) -> None:
    """HTTP 403 says what was tried and whom to ask."""
    backend.refuse[refused] = 403
    assert submit("--run-id", "one", "--detach") == 4
    said = capsys.readouterr().err
    assert "HTTP 403: User ada is not authorized" in said
    assert "kubeflow-edit" in said


def test_the_token_is_read_anew_for_each_request(backend: Any, tmp_path: Path) -> None:
    """A token that Kubernetes rotated is used without a new client; a stale one is a clear refusal."""
    token = tmp_path / "token"
    token.write_text("first\n")
    backend.token = "first"
    server = KfpServer(backend.url, token_file=token)
    assert server.health().version == "2.17.0"
    backend.token = "second"
    with pytest.raises(ServerRefused, match="--token-file"):
        server.health()
    token.write_text("second\n")
    assert server.run_named("e", "nothing") is None


def test_no_server_is_a_clear_error() -> None:
    """A closed port: what to do, not a stack of urllib3."""
    with pytest.raises(ServerUnreachable, match="port-forward"):
        KfpServer("http://127.0.0.1:9").health()


def test_progress_shows_each_change_once(backend: Any, tmp_path: Path) -> None:
    """A task's line appears when its state changes, not at every look."""
    task = {"task_id": "1", "display_name": "plan", "state": "RUNNING"}
    running = {"state": "RUNNING", "run_details": {"task_details": [task]}}
    done = {"state": "SUCCEEDED", "run_details": {"task_details": [{**task, "state": "SUCCEEDED"}]}}
    backend.script = [running, running, done]
    ending, shown = _follow(backend, tmp_path)
    assert ending.code is ExitCode.OK
    assert shown == "running    plan\nsucceeded  plan\n"


@pytest.mark.parametrize("name", ["lifecycle-x-42", "lifecycle-x-retry-system-container-impl-42"])
def test_a_failed_run_names_the_step_and_the_log_of_its_last_attempt(backend: Any, tmp_path: Path, name: str) -> None:
    """The step is named and not the group around it; its log is archived under the node's name or still a pod's."""
    backend.script = [{"state": "FAILED", "run_details": {"task_details": FAILED_TASKS}}]
    backend.logs[name] = "\n".join(f"line {n}" for n in range(50))
    ending, shown = _follow(backend, tmp_path)
    assert ending.code is ExitCode.INFRASTRUCTURE
    assert (ending.cause or "").startswith("train: ")
    assert ending.log is not None
    assert ending.log.splitlines()[0] == "  line 30"
    assert ending.log.splitlines()[-1] == "  line 49"
    assert shown == "failed     train\n"


def test_a_log_that_is_gone_hides_nothing(backend: Any, tmp_path: Path) -> None:
    """The pod was removed: the cause stands, and why there is no log."""
    backend.script = [{"state": "FAILED", "run_details": {"task_details": FAILED_TASKS}}]
    ending, _ = _follow(backend, tmp_path)
    assert (ending.cause or "").startswith("train: ")
    assert "cannot be read" in (ending.log or "")


def test_a_crash_as_a_real_backend_tells_it(backend: Any, tmp_path: Path) -> None:
    """What KFP 2.17 said of a run whose first step raised: that step, and the log of its pod."""
    run = json.loads((GOLDEN / "run-crash.json").read_text(encoding="utf-8"))
    backend.script = [{"state": run["state"], "run_details": run["run_details"]}]
    backend.logs["lifecycle-tgrht-843607397"] = "failed to execute component"
    ending, shown = _follow(backend, tmp_path)
    assert (ending.cause or "").startswith("plan: FAILED")
    assert ending.log == "  failed to execute component"
    assert sorted(shown.split()[1::2]) == ["close", "conclude", "plan"]


def test_a_canceled_run_as_a_real_backend_tells_it(backend: Any, tmp_path: Path) -> None:
    """KFP 2.17 calls a canceled run FAILED in the end; that somebody canceled it is in its history alone."""
    run = json.loads((GOLDEN / "run-canceled.json").read_text(encoding="utf-8"))
    assert run["state"] == "FAILED"
    backend.script = [{key: run[key] for key in ("state", "state_history", "run_details")}]
    (tmp_path / "conclusion.json").write_text(json.dumps({"exit_code": 3}))
    ending, _ = _follow(backend, tmp_path)
    assert (ending.state, ending.code) == ("CANCELED", ExitCode.INFRASTRUCTURE)


@pytest.mark.parametrize("code", [1, 3])
def test_a_verdict_decides_the_exit_of_a_failed_run(backend: Any, tmp_path: Path, code: int) -> None:
    """The run concluded: its own exit code is worth more than KFP's FAILED."""
    (tmp_path / "conclusion.json").write_text(json.dumps({"exit_code": code}))
    backend.script = [{"state": "FAILED", "run_details": {"task_details": FAILED_TASKS}}]
    ending, _ = _follow(backend, tmp_path)
    assert ending.code == code


def test_a_step_that_raised_is_told_with_its_own_code(backend: Any, tmp_path: Path) -> None:
    """Wrong data is exit 2 with the step's sentence, also on a cluster."""
    error = {"step": "ingest", "type": "DataError", "known": True, "exit_code": 2, "message": "a.csv: no column"}
    (tmp_path / "error.json").write_text(json.dumps(error))
    backend.script = [{"state": "FAILED"}]
    ending, _ = _follow(backend, tmp_path)
    assert (ending.code, ending.cause) == (ExitCode.USAGE, "step ingest: a.csv: no column")


@pytest.mark.parametrize("state", ["CANCELED", "SKIPPED", "FAILED"])
def test_every_final_state_ends_the_following_and_none_but_success_is_a_pass(
    backend: Any, tmp_path: Path, state: str
) -> None:
    """KFP's own client polls a canceled run until its time is out."""
    backend.script = [{"state": "RUNNING"}, {"state": "CANCELING"}, {"state": state}]
    ending, _ = _follow(backend, tmp_path)
    assert (ending.state, ending.code) == (state, ExitCode.INFRASTRUCTURE)


def test_a_timeout_leaves_the_run_alone_and_says_how_to_go_on(backend: Any, tmp_path: Path) -> None:
    """Infrastructure, the last state, and the command."""
    backend.script = [{"state": "RUNNING"}]
    ending, _ = _follow(backend, tmp_path, timeout=0.05)
    assert ending.code is ExitCode.INFRASTRUCTURE
    assert "--resume r" in (ending.cause or "")


def test_a_short_outage_is_waited_out_and_a_long_one_raised(backend: Any, tmp_path: Path) -> None:
    """The API server may be rolled out anew during a run; a refusal is never waited for."""
    backend.outages = 3
    assert _follow(backend, tmp_path)[0].code is ExitCode.OK
    backend.outages = 1_000_000
    with pytest.raises(ServerRefused, match="HTTP 503"):
        _follow(backend, tmp_path, patience=0.05)
    backend.outages, backend.refuse = 0, {("GET", "/r"): 403}
    with pytest.raises(ServerRefused, match="HTTP 403"):
        _follow(backend, tmp_path)


def test_resume_retries_what_failed_and_follows(backend: Any, submit: Submit) -> None:
    """A failed run's failed steps start again; nothing new is uploaded or started."""
    backend.kept["runs"].append({"run_id": "r"})
    backend.script = [{"state": "FAILED"}, {"state": "SUCCEEDED"}]
    assert submit("--resume", "r", "--run-id", "one") == 0
    assert backend.retried == ["r"]
    assert len(backend.kept["runs"]) == 1
    assert backend.uploads == []


def test_a_start_that_was_cut_off_is_completed(
    backend: Any, plan_path: Path, write_profile: Callable[..., Path]
) -> None:
    """The store was laid out and the pipeline uploaded when the connection broke; the second start adds the run."""
    submission = prepare(plan_path, load_profile(write_profile()), name="monitor", run_id="one")
    backend.refuse[("POST", "/runs")] = 503
    with pytest.raises(ServerRefused):
        start(KfpServer(backend.url), submission)
    backend.refuse.clear()
    first, second = (start(KfpServer(backend.url), submission) for _ in range(2))
    assert first == second
    assert (len(backend.uploads), len(backend.kept["runs"])) == (1, 1)
