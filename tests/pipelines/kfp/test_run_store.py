"""Runs in an object store: what a step gets, what it leaves, and that attempts never hide one another."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.object_store import SECRET_KEY, object_store

from sextant_components.runs.context import RunFile, Step, open_run
from sextant_components.runs.repository import Repository
from sextant_pipelines import run_store
from sextant_pipelines.run_store import StoreUnreachable, begin_scheduled, lay_out, local_copy, read_files
from sextant_pipelines.runtime import conclude, run_step
from sextant_plan.errors import InfrastructureError, UsageError
from sextant_plan.ledger import finished, read_run
from sextant_plan.verdicts import Verdict

ROOT = Path(__file__).parents[3]
PLAN = (ROOT / "examples" / "tiny" / "plan.yaml").read_bytes()


def _file(folder: Path, run_id: str = "one") -> RunFile:
    return RunFile(run_id=run_id, plan_dir=str(folder), home=str(folder / "home"), pipeline="monitor")


@pytest.fixture
def memory_uri(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A run's address in fsspec's store in memory, which behaves as an object store does."""
    import fsspec

    monkeypatch.setattr(run_store, "SCHEMES", ("memory",))
    yield f"memory://runs/{uuid.uuid4().hex}/one"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(scope="module")
def s3_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket of a real object store, versitygw over a folder, named by the environment as a pod's would be."""
    with object_store(tmp_path_factory.mktemp("s3"), "runs") as store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment.items():
            patch.setenv(name, value)
        yield "s3://runs"


def _check_a_step(uri: str, folder: Path) -> None:
    """Run a step of a run that lies at `uri`, twice: each attempt's ledger is there, and the verdict is read back."""
    lay_out(uri, plan=PLAN, file=_file(folder))
    for _ in range(2):
        assert run_store_step(uri) == "unknown"
    with local_copy(uri) as name:
        assert sorted(path.name for path in (Path(name) / "ledger").iterdir()) == ["watch-1.jsonl", "watch-2.jsonl"]
        records = read_run(open_run(name).run)["watch"]
        assert finished(records)
        assert records[-1].verdict is Verdict.UNKNOWN


def run_store_step(uri: str) -> str:
    """Run the monitor's step, which without a model in service is over at once."""
    from sextant_pipelines.runtime import run_monitor

    return run_monitor(uri, run_id="one", window="")


def test_a_step_works_on_a_copy_and_leaves_its_ledger(memory_uri: str, tmp_path: Path) -> None:
    """Two attempts of one step: two files, the second read back."""
    _check_a_step(memory_uri, tmp_path)


@pytest.mark.servers
def test_a_step_works_on_a_run_in_a_real_object_store(s3_uri: str, tmp_path: Path) -> None:
    """The same over S3, with credentials and endpoint from the environment alone."""
    uri = f"{s3_uri}/{uuid.uuid4().hex}/one"
    _check_a_step(uri, tmp_path)
    with pytest.raises(Exception, match="verdict is unknown"):
        conclude(uri)
    conclusion = read_files(uri, ["conclusion.json"])["conclusion.json"]
    assert json.loads(conclusion)["verdict"] == "unknown"
    everything = b"".join(
        read_files(uri, ["run.json", "plan.yaml", "ledger/watch-1.jsonl", "conclusion.json"]).values()
    )
    assert SECRET_KEY.encode() not in everything


@pytest.mark.servers
def test_wrong_credentials_are_a_clear_error(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store refuses: the address and what to look at, without the credential."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(StoreUnreachable, match="AWS_ENDPOINT_URL") as caught:
        read_files(f"{s3_uri}/nothing", ["run.json"])
    assert "wrong-secret" not in str(caught.value)


def test_a_step_that_raises_leaves_its_cause(memory_uri: str, tmp_path: Path) -> None:
    """error.json reaches the store, for whoever follows the run."""
    lay_out(memory_uri, plan=PLAN, file=_file(tmp_path))
    with pytest.raises(UsageError):
        run_step("plan", memory_uri, run_id="one")
    error = json.loads(read_files(memory_uri, ["error.json"])["error.json"])
    assert (error["step"], error["exit_code"]) == ("plan", 2)


def test_two_attempts_at_once_never_hide_one_another(memory_uri: str, tmp_path: Path) -> None:
    """Both copied the run before either wrote: the second to leave is refused, and the first one's file stands."""
    lay_out(memory_uri, plan=PLAN, file=_file(tmp_path))
    slow = local_copy(memory_uri)
    folder = slow.__enter__()
    for place in (memory_uri, folder):
        with local_copy(place) as copy, open_run(copy).ledger(Step.WATCH):
            pass
    with pytest.raises(InfrastructureError, match="another pod wrote this file"):
        slow.__exit__(None, None, None)
    first = read_files(memory_uri, ["ledger/watch-1.jsonl"])["ledger/watch-1.jsonl"]
    assert b'"attempt":1' in first


def test_a_scheduled_run_is_laid_out_by_its_first_step(tmp_path: Path) -> None:
    """From the folder beside it, under its own id; a run that is there is left alone."""
    lay_out(f"{tmp_path}/watch/schedule", plan=PLAN, file=_file(tmp_path, "watch"))
    run = f"{tmp_path}/watch/20260101000000"
    begin_scheduled(run, "watch-20260101000000")
    begin_scheduled(run, "another-id")
    context = open_run(run)
    assert (context.run_id, context.pipeline) == ("watch-20260101000000", "monitor")


def test_another_runs_folder_is_refused(tmp_path: Path) -> None:
    """The same run may be laid out again, also after a commit to its repository; another one not there."""
    uri = str(tmp_path / "run")
    first, later = (_file(tmp_path).model_copy(update={"repository": Repository(commit=each)}) for each in "ab")
    lay_out(uri, plan=PLAN, file=first)
    lay_out(uri, plan=PLAN, file=later)
    assert open_run(uri).repository == first.repository
    with pytest.raises(UsageError, match="another run"):
        lay_out(uri, plan=PLAN, file=_file(tmp_path, "two"))


def test_an_unknown_store_is_named(tmp_path: Path) -> None:
    """A scheme that nobody reads is a usage error, not a folder of that name."""
    with pytest.raises(UsageError, match="no run store of this kind"), local_copy("ftp://host/run"):
        pass
