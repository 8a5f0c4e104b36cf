"""From the sealed rows to the live server: the look budget, admission, the promotion and its loser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sextant_components.data.tables import GROUP_COLUMN
from sextant_components.deployment.drills.conduct import record
from sextant_components.deployment.drills.result import Result
from sextant_components.deployment.register import run_register
from sextant_components.deployment.roll_out import run_roll_out
from sextant_components.evaluation.decide import run_decide
from sextant_components.evaluation.evaluate import run_evaluate
from sextant_components.evaluation.evaluation_records import record_champion, record_subject
from sextant_components.evaluation.looks import LooksSpent, take_look
from sextant_components.evidence.gates import Settled, record_criterion
from sextant_components.modelling.tracking import publish_run
from sextant_components.runs.context import RunContext, Step
from sextant_plan.bundle import read_bundle, seal_bundle
from sextant_plan.errors import BundleCorrupt, ExitCode
from sextant_plan.ledger import read_run
from sextant_plan.promotion import NotAdmitted, PromotionLost
from sextant_plan.types import DrillName
from sextant_plan.verdicts import Verdict
from sextant_serving.home import served_model
from sextant_serving.registry import CHAMPION, open_registry
from sextant_serving.rollout.admission import admit
from sextant_serving.rollout.files import rollout_folder

OpenRun = Callable[..., RunContext]


def _judged(context: RunContext, bundle: Path, verdict: Verdict = Verdict.PASS) -> None:
    """Write an evaluation with one verdict for every criterion, as of the champion now, and decide on it."""
    with context.ledger(Step.EVALUATE) as ledger:
        record_subject(ledger, read_bundle(bundle))
        record_champion(ledger, open_registry(context.home).champion("bars"))
        for criterion in context.plan.criteria:
            if criterion.definition.step == Step.EVALUATE:
                record_criterion(ledger, criterion, Settled(verdict, "settled by the test"))
    run_decide(context, bundle=bundle)


CANARY_CRITERIA = [
    {"id": "accuracy", "metric": "accuracy", "at_least": 0.6, "min_n": 50},
    {"id": "errors", "metric": "error_rate", "at_most": 0.5, "min_n": 20, "enforce": ["gate", "canary"]},
]


def _sealed_by(context: RunContext, bundle: Path, copy: Path, **serving: float) -> Path:
    """Copy a bundle as if this run's plan had made it."""
    spec = read_bundle(shutil.copytree(bundle, copy))
    changed = spec.serving.model_copy(update=serving)
    seal_bundle(copy, spec.model_copy(update={"plan_hash": context.plan_hash, "serving": changed}))
    return copy


@pytest.fixture
def context(tmp_path: Path, home: Path, open_run_at: OpenRun) -> RunContext:
    """A run in a home of its own."""
    return open_run_at(tmp_path / "r1", home=home)


def test_a_release_from_sealed_rows_to_a_live_version(
    made: Any, bars: Any, tmp_path: Path, open_run_at: OpenRun
) -> None:
    """The real thing once: evaluate on a real server, decide, register, roll out, publish; then compare with it."""
    context, bundle = made.context, made.bundle
    assert run_evaluate(context, snapshot=bars.snapshot, splits=bars.splits, bundle=bundle) is Verdict.PASS
    evaluated = {record.task: record for record in read_run(context.run)["evaluate"]}
    assert evaluated["served parity"].verdict is Verdict.PASS
    assert evaluated["criterion beats-majority"].interval is not None
    assert "beats baseline" not in evaluated, "the plan's own criterion tests it"
    matrix = json.loads(context.artifacts.read_bytes(evaluated["confusion matrix"].artifacts["confusion.json"]))
    assert matrix["classes"] == ["cross", "flat", "tall"]
    assert sum(map(sum, matrix["matrix"])) == 90
    slices = json.loads(context.artifacts.read_bytes(evaluated["slices"].artifacts["slices.json"]))
    assert [row["slice"] for row in slices] == ["light=day", "light=night"]

    assert run_decide(context, bundle=bundle) is Verdict.PASS
    version = run_register(context, bundle=bundle)
    assert run_roll_out(context, bundle=bundle, version=version) is Verdict.PASS
    active = served_model(context.home)
    assert (active.version, active.digest, active.sequence) == (version, made.spec.digest, "seq-0001")
    assert read_bundle(Path(active.bundle)).digest == made.spec.digest

    client = open_registry(context.home).store.client
    assert str(client.get_model_version_by_alias("bars", CHAMPION).version) == version
    parent = publish_run(context)
    assert publish_run(context) == parent
    children = client.search_runs(
        [client.get_run(parent).info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'"
    )
    steps = [child.data.tags["sextant.step"] for child in children]
    assert sorted(steps) == sorted(read_run(context.run))
    train = next(child for child in children if child.data.tags["sextant.step"] == "train")
    assert train.data.params["architecture"] == made.spec.members[0].architecture
    assert "trial0.valid_accuracy" in train.data.metrics
    judged = next(child for child in children if child.data.tags["sextant.step"] == "evaluate").info.run_id
    kept = {each.path for each in client.list_artifacts(judged, "evidence")}
    assert {"evidence/confusion.json", "evidence/slices.json", "evidence/latency.json"} <= kept
    ledgers = {each.path for each in client.list_artifacts(parent, "ledger")}
    assert {f"ledger/{step}-1.jsonl" for step in read_run(context.run)} <= ledgers
    assert client.get_run(parent).info.status == "FINISHED"
    tags = client.get_run(parent).data.tags
    assert (tags["sextant.verdict"], tags["sextant.bundle_digest"]) == ("pass", made.spec.digest)
    assert (tags["sextant.data_hash"], tags["sextant.plan_hash"]) == (made.spec.data_hash, context.plan_hash)
    assert tags["sextant.decision"] == read_run(context.run)["decide"][-1].id
    assert tags["sextant.criterion.accuracy"] == "pass"

    second = open_run_at(tmp_path / "second", home=context.home)
    run_evaluate(second, snapshot=bars.snapshot, splits=bars.splits, bundle=bundle)
    after = {record.task: record for record in read_run(second.run)["evaluate"]}
    compared = after["criterion no-worse"]  # with the champion, which is this model itself: on no row worse
    assert (compared.value, compared.n, compared.verdict) == (0.0, 90, Verdict.PASS)
    assert compared.interval is not None
    assert after["champion"].value == {"sequence": 1, "version": version}
    assert after["look"].value == evaluated["look"].value  # the same model looks once


def test_a_plan_without_such_a_criterion_is_judged_against_the_baseline_on_the_sealed_rows(
    made: Any, bars: Any, tmp_path: Path, home: Path, open_run_at: OpenRun
) -> None:
    """The rows that chose the model flatter it; those that nobody has seen decide."""
    criteria = [{"id": "accuracy", "metric": "accuracy", "at_least": 0.6, "min_n": 50}]
    context = open_run_at(tmp_path / "r1", home=home, criteria=criteria)
    assert run_evaluate(context, snapshot=bars.snapshot, splits=bars.splits, bundle=made.bundle) is Verdict.PASS
    (found,) = [each for each in read_run(context.run)["evaluate"] if each.task == "beats baseline"]
    assert (found.verdict, found.n) == (Verdict.PASS, 90)
    assert json.loads(context.artifacts.read_bytes(found.artifacts["baseline.json"]))["kind"] == "majority"


def test_an_evaluation_counts_what_groups_of_sealed_rows_are_worth(
    made: Any, bars: Any, tmp_path: Path, home: Path, open_run_at: OpenRun
) -> None:
    """Ninety sealed rows of nine customers: the record says so, and no criterion on rows has more than it is worth."""
    splits = shutil.copytree(bars.splits, tmp_path / "splits")
    sealed = pl.read_parquet(splits / "sealed.parquet")
    groups = pl.Series(GROUP_COLUMN, np.arange(90) // 10 * 10)
    sealed.with_columns(groups).write_parquet(splits / "sealed.parquet")
    context = open_run_at(tmp_path / "grouped", home=home)
    assert run_evaluate(context, snapshot=bars.snapshot, splits=splits, bundle=made.bundle) is Verdict.UNKNOWN
    evaluated = {record.task: record for record in read_run(context.run)["evaluate"]}
    counted = evaluated["rows in groups"]
    assert counted.value == {"rows": 90, "groups": 9, "largest": 10, "rows_if_groups_are_alike": 9.0}
    for name in ("accuracy", "beats-majority", "corruptions"):
        record = evaluated[f"criterion {name}"]
        assert record.n is not None
        assert record.n < 50
        assert "90 rows in 9 groups" in record.qa_method
    assert evaluated["criterion errors"].n == 30
    slices = json.loads(context.artifacts.read_bytes(evaluated["slices"].artifacts["slices.json"]))
    assert all(row["n"] < 45 for row in slices)


def test_looks_are_spent_for_good(home: Path) -> None:
    """The budget holds across runs and names the way out; a model that was judged before does not pay again."""

    def look(version: str) -> int:
        return take_look(home, plan="bars", sealed_digest="sha256:" + "5" * 64, budget=2, version=version).number

    assert [look("v1"), look("v2"), look("v1")] == [1, 2, 1]
    with pytest.raises(LooksSpent, match=r"all 2 looks .* Collect new data") as caught:
        look("v3")
    assert caught.value.exit_code is ExitCode.USAGE


def test_evaluating_without_a_look_left_opens_nothing(
    context: RunContext, made: Any, bars: Any, tmp_path: Path
) -> None:
    """The error comes before the rows: the sealed split is not even there."""
    splits = shutil.copytree(bars.splits, tmp_path / "splits")
    (splits / "sealed.parquet").unlink()
    for version in ("a", "b", "c", "d", "e"):
        take_look(
            context.home,
            plan="bars",
            sealed_digest="sha256:" + "5" * 64,
            budget=context.plan.evaluation.looks,
            version=version,
        )
    with pytest.raises(LooksSpent):
        run_evaluate(context, snapshot=bars.snapshot, splits=splits, bundle=made.bundle)
    assert "evaluate" not in read_run(context.run)


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        pytest.param(Verdict.FAIL, ExitCode.GATE_FAILED, id="failed"),
        pytest.param(Verdict.UNKNOWN, ExitCode.GATE_UNKNOWN, id="unknown"),
    ],
)
def test_only_a_pass_is_admitted(context: RunContext, bundle: Path, verdict: Verdict, code: ExitCode) -> None:
    """A decision that fails or does not know ends with its own exit code, and nothing goes live."""
    _judged(context, bundle, verdict)
    version = run_register(context, bundle=bundle)
    with pytest.raises(NotAdmitted, match=f"the decision is {verdict}") as caught:
        run_roll_out(context, bundle=bundle, version=version)
    assert caught.value.exit_code is code
    assert not (context.home / "active.json").exists()


def test_without_a_decision_nothing_is_admitted(context: RunContext, bundle: Path) -> None:
    """A registered version is not yet a released one."""
    version = run_register(context, bundle=bundle)
    with pytest.raises(NotAdmitted, match="no finished decision"):
        run_roll_out(context, bundle=bundle, version=version)


def test_a_version_of_another_bundle_is_not_admitted(context: RunContext, bundle: Path) -> None:
    """The decision is about a digest; a version that is not bound to it cannot borrow it."""
    _judged(context, bundle)
    run_register(context, bundle=bundle)
    with pytest.raises(NotAdmitted, match="version 7 is not bound to this bundle"):
        run_roll_out(context, bundle=bundle, version="7")


def test_a_stored_bundle_that_was_changed_is_not_rolled_out(context: RunContext, bundle: Path) -> None:
    """Between register and roll-out a file of the copy was changed: its digest tells."""
    _judged(context, bundle)
    version = run_register(context, bundle=bundle)
    stored = next((context.home / "bundles" / "bars").iterdir())
    (stored / "reference.json").write_text("{}")
    with pytest.raises(BundleCorrupt, match=r"reference\.json"):
        run_roll_out(context, bundle=bundle, version=version)
    assert not (context.home / "active.json").exists()


def test_a_first_version_has_no_canary_and_the_next_is_staged(
    bundle: Path, tmp_path: Path, home: Path, open_run_at: OpenRun
) -> None:
    """With nothing in service there is nothing to compare with; after that a canary waits for traffic as unknown."""
    rollout = {"rollout": {"strategy": "canary"}, "criteria": CANARY_CRITERIA}
    first = open_run_at(tmp_path / "r1", home=home, **rollout)
    sealed = _sealed_by(first, bundle, tmp_path / "one")
    _judged(first, sealed)
    assert run_roll_out(first, bundle=sealed, version=run_register(first, bundle=sealed)) is Verdict.PASS
    assert _way_back(first) is None

    second = open_run_at(tmp_path / "r2", home=home, **rollout)
    other = _sealed_by(second, bundle, tmp_path / "two", abstain_below=0.5)
    _judged(second, other)
    version = run_register(second, bundle=other)
    assert run_roll_out(second, bundle=other, version=version) is Verdict.UNKNOWN
    assert served_model(home).version == "1"
    staged = rollout_folder(home, "bars").release()
    assert staged is not None
    assert (staged.version, staged.replaces, staged.sequence) == (version, "1", 1)
    assert admit(staged, open_registry(home).digest_of) is None
    assert _way_back(second) is Verdict.PASS


def _way_back(context: RunContext) -> Verdict | None:
    """Return whether a roll-out proved that the version before can serve; None if it had none before it."""
    found = [record.verdict for record in read_run(context.run)["roll_out"] if record.task == "rollback proof"]
    return found[-1] if found else None


def test_a_way_back_that_is_gone_is_told_and_holds_nothing_up(
    bundle: Path, tmp_path: Path, home: Path, open_run_at: OpenRun
) -> None:
    """The replaced bundle was damaged: the record fails with the cause, and the new version goes live all the same."""
    first, second = (open_run_at(tmp_path / name, home=home) for name in ("r1", "r2"))
    _judged(first, bundle)
    run_roll_out(first, bundle=bundle, version=run_register(first, bundle=bundle))
    (Path(served_model(home).bundle) / "reference.json").write_text("{}")
    other = _sealed_by(second, bundle, tmp_path / "other", abstain_below=0.5)
    _judged(second, other)
    assert run_roll_out(second, bundle=other, version=run_register(second, bundle=other)) is Verdict.PASS
    assert _way_back(second) is Verdict.FAIL
    assert served_model(home).version == "2"


def test_the_next_version_waits_for_the_plans_drills(
    bundle: Path, tmp_path: Path, home: Path, open_run_at: OpenRun
) -> None:
    """The first is let through by grace. A drill that failed refuses the next; one that passed lets the same run on."""
    asked = {
        "failure": [{"mode": "dead-pod", "fallback": "another starts", "recover_within": "60s"}],
        "drills": {"max_age": "30d"},
    }
    first, second = (open_run_at(tmp_path / name, home=home, **asked) for name in ("r1", "r2"))
    sealed = _sealed_by(first, bundle, tmp_path / "one")
    _judged(first, sealed)
    assert run_roll_out(first, bundle=sealed, version=run_register(first, bundle=sealed)) is Verdict.PASS

    other = _sealed_by(second, bundle, tmp_path / "two", abstain_below=0.5)
    _judged(second, other)
    version = run_register(second, bundle=other)
    with pytest.raises(NotAdmitted, match="the drill dead-pod was never held") as unknown:
        run_roll_out(second, bundle=other, version=version)
    assert unknown.value.exit_code is ExitCode.GATE_UNKNOWN

    late, in_time = (Result("-", 1.0, "-", seconds) for seconds in (61.0, 2.0))
    record(second.plan, home, DrillName.DEAD_POD, late, profile="local", detected_by="-")
    with pytest.raises(NotAdmitted, match="the last drill dead-pod ended as fail") as failed:
        run_roll_out(second, bundle=other, version=version)
    assert failed.value.exit_code is ExitCode.GATE_FAILED
    assert served_model(home).version == "1"

    record(second.plan, home, DrillName.DEAD_POD, in_time, profile="local", detected_by="-")
    assert run_roll_out(second, bundle=other, version=version) is Verdict.PASS
    assert served_model(home).version == version


def test_register_after_a_kill_leaves_one_version(context: RunContext, bundle: Path) -> None:
    """Run three times, the first of them cut off at once: one version, one copy, one binding."""
    with pytest.raises(KeyboardInterrupt), context.ledger(Step.REGISTER):
        raise KeyboardInterrupt
    assert {run_register(context, bundle=bundle) for _ in range(2)} == {"1"}
    assert len(list((context.home / "bundles" / "bars").iterdir())) == 1
    client = open_registry(context.home).store.client
    versions = client.search_model_versions("name = 'bars'")
    assert [version.tags["sextant.plan_hash"] for version in versions] == [context.plan_hash]
    assert len(read_run(context.run)["register"]) == 2


def test_the_loser_of_a_promotion_is_told(
    bundle: Path, made: Any, tmp_path: Path, home: Path, open_run_at: OpenRun
) -> None:
    """Two runs were judged against the same champion; the second to arrive changes nothing and exits with 1.

    The winner, run again as after a kill, completes what it began and is not promoted twice.
    """
    first, second = (open_run_at(tmp_path / name, home=home) for name in ("r1", "r2"))
    other = shutil.copytree(bundle, tmp_path / "other")
    text = (other / "bundle.json").read_text()
    (other / "bundle.json").write_text(text.replace('"abstain_below": 0.0', '"abstain_below": 0.5'))
    _judged(first, bundle)
    _judged(second, other)
    versions = [run_register(first, bundle=bundle), run_register(second, bundle=other)]
    assert versions == ["1", "2"]

    run_roll_out(first, bundle=bundle, version="1")
    before = served_model(home)
    with pytest.raises(PromotionLost, match="judged against no version, but version 1 is live") as caught:
        run_roll_out(second, bundle=other, version="2")
    assert caught.value.exit_code is ExitCode.GATE_FAILED
    assert served_model(home) == before

    (home / "active.json").unlink()
    run_roll_out(first, bundle=bundle, version="1")
    assert served_model(home) == before
    assert len(open_registry(home).history("bars")) == 1
