"""Judging a window of the logs: the rows that count, labels however late, and the same rules as on live series."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from sextant_components.monitoring.log_store import ship_logs
from sextant_components.monitoring.monitor import run_monitor
from sextant_components.runs.context import RunContext, create_run
from sextant_monitoring.launcher import TimeWindow
from sextant_monitoring.quality import LabelLogs, measure_quality
from sextant_plan.bundle import (
    REFERENCE_FILE,
    BundleSpec,
    Column,
    Member,
    ServingSpec,
    Tensor,
    read_bundle,
    seal_bundle,
)
from sextant_plan.errors import InfrastructureError
from sextant_plan.ledger import Record, read_run
from sextant_plan.promotion import ActiveModel, write_active
from sextant_plan.reference import FeatureReference, Reference, write_reference
from sextant_plan.schema import ColumnRule, Criterion, Plan
from sextant_plan.verdicts import Verdict
from sextant_serving.home import served_model

START = 1_767_225_600.0  # 2026-01-01T00:00:00Z
WINDOW = TimeWindow(START, START + 3600)
LATE = START + 10 * 86400
ROWS = 400
Log = Callable[..., None]


@pytest.fixture
def run(tmp_path: Path) -> RunContext:
    """A run of the monitor pipeline, and a version in service whose training saw one number in two even bins."""
    plan: dict[str, Any] = {
        "name": "parcels",
        "owner": {"team": "warehouse", "approvers": ["operations"]},
        "goal": {"business": "Sort parcels.", "why_ml": "Nobody can write the rules down."},
        "criteria": [
            {"id": "accuracy", "metric": "accuracy", "at_least": 0.8, "enforce": ["gate", "alert", "retrain"]},
            {"id": "input-drift", "metric": "input_psi", "at_most": 0.2, "enforce": ["alert", "retrain"]},
            {"id": "errors", "metric": "error_rate", "at_most": 0.02, "enforce": ["gate", "alert"]},
        ],
        "data": {
            "source": "data",
            "table": "table.csv",
            "columns": {"weight": {"type": "number"}},
            "licence": {"name": "CC0-1.0", "source": "made up", "allows_training": True},
            "consent": {"basis": "no persons"},
        },
        "model": {
            "task": "tabular-classification",
            "inputs": {"columns": ["weight"]},
            "candidates": [{"architecture": "linear"}],
        },
        "monitoring": {"window": "1h", "min_rows": 100, "labels": {"delay": "1d", "join_at_least": 0.5}},
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    home, bundle = tmp_path / "home", tmp_path / "bundle"
    home.mkdir()
    bundle.mkdir()
    (bundle / "model.onnx").write_bytes(b"not read here")
    reference = Reference(
        features=[FeatureReference(name="weight", edges=[0.0], counts=[500, 500])], classes={"heavy": 500, "light": 500}
    )
    write_reference(bundle / REFERENCE_FILE, reference)
    spec = BundleSpec(
        name="parcels",
        version="3",
        task="tabular-classification",
        engine="onnx",
        members=[Member(file="model.onnx", architecture="none")],
        image=None,
        columns=[Column(name="weight")],
        entity=None,
        feature_service=None,
        classes=["heavy", "light"],
        inputs=[Tensor(name="features", datatype="FP32", shape=[-1, 1])],
        outputs=[Tensor(name="probabilities", datatype="FP32", shape=[-1, 2])],
        serving=ServingSpec(
            max_rows=8,
            max_wait=0.001,
            queue_rows=64,
            deadline=5.0,
            latency_edges_ms=[],
            abstain_below=0.0,
            missing_features="default",
        ),
        golden_tolerance=1e-4,
        plan_hash="sha256:" + "0" * 64,
        data_hash="sha256:" + "1" * 64,
        created=START,
        files={},
    )
    sealed = seal_bundle(bundle, spec)
    write_active(
        home, ActiveModel(name="parcels", version="3", digest=sealed.digest, bundle=str(bundle), sequence="seq-0001")
    )
    return create_run(tmp_path / "run", run_id="watch", plan_path=tmp_path / "plan.yaml", home=home, pipeline="monitor")


@pytest.fixture
def log(run: RunContext) -> Log:
    """Write a file of the prediction log; `at` is the rows' time, half of them heavy unless `heavy` says otherwise."""
    folder = run.home / "predictions"
    folder.mkdir()

    def write(
        name: str,
        *,
        at: float = START + 60,
        heavy: float = 0.5,
        rows: int = ROWS,
        pictures: dict[str, list[float]] | None = None,
        **other: str,
    ) -> None:
        weights = [1.0 if place < heavy * rows else -1.0 for place in range(rows)]
        columns = {
            "time": pl.Series([round(at * 1e6)] * rows).cast(pl.Datetime("us", "UTC")),
            "prediction_id": [f"{name}-{place}" for place in range(rows)],
            "model": ["parcels"] * rows,
            "version": [other.get("version", "3")] * rows,
            "variant": ["stable"] * rows,
            "assignment": [other.get("assignment", "only")] * rows,
            "label": pl.Series(["heavy" if weight > 0 else "light" for weight in weights]).cast(pl.Categorical),
            "fallback": pl.Series([None] * rows, dtype=pl.String).cast(pl.Categorical),
            "probability": pl.Series([0.95] * rows, dtype=pl.Float32),
            "input.weight": pl.Series(weights, dtype=pl.Float32),
            **{measure: pl.Series(values, dtype=pl.Float32) for measure, values in (pictures or {}).items()},
        }
        pl.DataFrame(columns).write_parquet(folder / f"{name}.parquet")

    return write


def _label(
    run: RunContext, identifiers: list[str], label: str, *, log: str = "feedback.jsonl", received: float = LATE
) -> None:
    lines = [
        {
            "prediction_id": identifier,
            "label": label,
            "predicted": None,
            "outcome": "unmatched",  # the server forgot the prediction long ago; the log has not
            "model": "parcels",
            "version": "3",
            "variant": "stable",
            "received": received,
        }
        for identifier in identifiers
    ]
    path = run.home / log
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _judge(run: RunContext, **more: Any) -> tuple[Verdict, dict[str, Record]]:
    verdict = run_monitor(run, **{"window": WINDOW, "now": LATE, **more})
    return verdict, {record.task: record for record in read_run(run.run)["watch"]}


def test_traffic_like_the_training_rows_passes(run: RunContext, log: Log) -> None:
    """No drift and right labels: both criteria pass; the one on requests is left to the live series."""
    log("a")
    _label(run, [f"a-{place}" for place in range(200)], "heavy")
    _label(run, [f"a-{place}" for place in range(200, 400)], "light")
    verdict, records = _judge(run)
    assert verdict is Verdict.PASS
    assert records["alert accuracy"].value == 1.0
    assert records["alert input-drift"].verdict is Verdict.PASS
    assert "alert errors" not in records


def test_shifted_inputs_fail(run: RunContext, log: Log) -> None:
    """Nine rows in ten in one of two even bins is drift beyond the limit."""
    log("a", heavy=0.9)
    _, records = _judge(run)
    assert records["alert input-drift"].verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("rule", "rules", "broken", "verdict"),
    [
        ({"max": 0.1}, [], {"weight.max": 200}, Verdict.FAIL),
        ({"min": -1, "max": 1}, [], {}, Verdict.PASS),
        ({}, ["weight != weight"], {}, Verdict.PASS),
        ({}, ["weight <= weight"], {}, Verdict.PASS),
    ],
    ids=["out of range", "at the limits", "not told apart in single precision", "a rule over two columns"],
)
def test_production_rows_are_checked_by_the_rules_of_training_rows(
    run: RunContext, log: Log, rule: dict[str, float], rules: list[str], *, broken: dict[str, int], verdict: Verdict
) -> None:
    """Half of the logged weights are 1, half -1."""
    log("a")
    columns = {"weight": ColumnRule(type="number", **rule)}
    data = run.plan.data.model_copy(update={"columns": columns, "rules": rules})
    changed = replace(run, plan=run.plan.model_copy(update={"data": data}))
    _, records = _judge(changed)
    found = records["anomalies: rules in production"]
    assert found.value["broken"] == broken
    assert found.verdict is verdict


def _limited(run: RunContext, **criterion: Any) -> RunContext:
    """Return the run under a plan with one more criterion on its training data."""
    added = Criterion.model_validate({"id": "few", "confidence": 0.95, "min_n": 100, **criterion})
    return replace(run, plan=run.plan.model_copy(update={"criteria": [*run.plan.criteria, added]}))


@pytest.mark.parametrize(("at_most", "verdict"), [(0.2, Verdict.PASS), (0.01, Verdict.FAIL)], ids=["few", "many"])
def test_labels_that_come_back_wrong_are_pointed_at(
    run: RunContext, log: Log, *, at_most: float, verdict: Verdict
) -> None:
    """One label in twenty is the other class; the file names those predictions and no other."""
    log("a")
    wrong = {*range(0, 200, 20), *range(200, 400, 20)}
    for place in range(ROWS):
        _label(run, [f"a-{place}"], "heavy" if (place < 200) != (place in wrong) else "light")
    whole, records = _judge(_limited(run, metric="label_issue_rate", at_most=at_most))
    found = records["anomalies: labels in production"]
    assert found.value == len(wrong) / ROWS
    assert found.verdict is verdict
    assert whole is (Verdict.FAIL if verdict is Verdict.FAIL else Verdict.PASS)
    lines = run.artifacts.read_bytes(found.artifacts["production-suspects.jsonl"]).splitlines()
    assert {json.loads(line)["prediction_id"] for line in lines} == {f"a-{place}" for place in wrong}


def test_labels_of_one_class_are_not_judged(run: RunContext, log: Log) -> None:
    """There is nothing to confuse it with; the window does not fail for it."""
    log("a", heavy=1.0)
    _label(run, [f"a-{place}" for place in range(ROWS)], "heavy")
    _, records = _judge(run)
    assert records["anomalies: labels in production"].verdict is Verdict.UNKNOWN


def test_a_camera_in_the_dark_is_seen(run: RunContext, log: Log) -> None:
    """Of 400 logged pictures a tenth shows nothing; a row without a picture does not count."""
    dark = [place % 10 == 0 for place in range(ROWS)]
    brightest = [float("nan") if place == 1 else 9.0 if off else 240.0 for place, off in enumerate(dark)]
    even = {"picture.darkest": 5.0, "picture.spread": 60.0, "picture.sharpness": 1.0}
    log("a", pictures={"picture.brightest": brightest, **{name: [value] * ROWS for name, value in even.items()}})
    verdict, records = _judge(_limited(run, metric="picture_issue_rate", at_most=0.02))
    found = records["anomalies: pictures in production"]
    assert (found.value, found.n) == (40 / 399, 399)
    assert (found.verdict, verdict) == (Verdict.FAIL, Verdict.FAIL)


def test_only_the_windows_rows_of_the_version_that_users_had_count(run: RunContext, log: Log) -> None:
    """Rows before and after, another version's and a shadow's are all drifted, and none of them counts."""
    log("a")
    log("before", at=START - 1, heavy=1.0)
    log("after", at=START + 3600, heavy=1.0)
    log("older", heavy=1.0, version="2")
    log("shadow", heavy=1.0, assignment="mirror")
    _, records = _judge(run)
    assert records["window"].value["found"] == {"version": "3", "rows": ROWS}
    assert records["alert input-drift"].verdict is Verdict.PASS


def test_rows_of_a_server_that_knows_the_bundle_alone_count(run: RunContext, log: Log, tmp_path: Path) -> None:
    """On a cluster a server is given a bundle, and the version that it logs is the bundle's own."""
    active = served_model(run.home).model_copy(update={"version": "17"})  # as the registry numbers it
    write_active(run.home, active)
    log("a", version=read_bundle(Path(active.bundle)).version)
    log("older", version="2")
    _, records = _judge(run)
    assert records["window"].value["found"] == {"version": "17", "rows": ROWS}


def test_the_label_that_any_server_received_first_counts(run: RunContext, log: Log) -> None:
    """A later word for the same prediction may be in another server's log, whichever is read first."""
    log("a")
    everything = [f"a-{place}" for place in range(ROWS)]
    _label(run, everything, "heavy", log="feedback/blue-1.jsonl", received=LATE)
    _label(run, everything[:200], "heavy", log="feedback/green-1.jsonl", received=LATE - 60)
    _label(run, everything[200:], "light", log="feedback/green-1.jsonl", received=LATE - 60)
    _, records = _judge(run)
    assert records["alert accuracy"].value == 1.0


def test_what_pods_shipped_is_judged_as_the_homes_own_logs(
    run: RunContext, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pods of a cluster share no folder with the step: SEXTANT_LOGS names the store that both reach."""
    log("20260101T000100Z-1-aa-000001")
    everything = [f"20260101T000100Z-1-aa-000001-{place}" for place in range(ROWS)]
    _label(run, everything[:200], "heavy", log="feedback/blue-1.jsonl")
    _label(run, everything[200:], "light", log="feedback/green-1.jsonl")
    _, of_home = _judge(run)
    address = f"memory://{tmp_path.name}"
    ship_logs(run.home, f"{address}/parcels", now=lambda: datetime.fromtimestamp(LATE, UTC))
    for path in (run.home / "feedback").iterdir():
        path.unlink()
    again = create_run(tmp_path / "again", run_id="again", plan_path=tmp_path / "plan.yaml", home=run.home,
                       pipeline="monitor")  # fmt: skip
    _, missing = _judge(again)
    monkeypatch.setenv("SEXTANT_LOGS", address)
    shipped = create_run(tmp_path / "shipped", run_id="shipped", plan_path=tmp_path / "plan.yaml", home=run.home,
                         pipeline="monitor")  # fmt: skip
    _, of_store = _judge(shipped)
    assert missing["window"].verdict is Verdict.UNKNOWN
    assert {task: record.id for task, record in of_store.items()} == {task: each.id for task, each in of_home.items()}


def test_the_first_label_counts_and_repeats_do_not(run: RunContext, log: Log) -> None:
    """A correction that comes twice must not count twice, and the second word is not the first."""
    log("a")
    _label(run, [f"a-{place}" for place in range(400)], "heavy")
    _label(run, [f"a-{place}" for place in range(400)], "light")
    _, records = _judge(run)
    assert records["label join"].value["agree"] == records["label join"].value["disagree"] == 200
    assert records["alert accuracy"].verdict is Verdict.FAIL


def test_too_few_labels_leave_quality_unknown(run: RunContext, log: Log) -> None:
    """Below the plan's join rate the labelled rows may be a biased choice."""
    log("a")
    _label(run, [f"a-{place}" for place in range(100)], "heavy")
    verdict, records = _judge(run)
    assert verdict is Verdict.UNKNOWN
    assert records["alert accuracy"].verdict is Verdict.UNKNOWN
    assert records["label join"].verdict is Verdict.UNKNOWN


def test_labels_are_judged_in_the_last_window_in_which_they_are_due(run: RunContext, log: Log) -> None:
    """Traffic is judged in the hour that has just ended, quality in that of a day ago; the records say so."""
    log("due")
    log("last", at=START + 86400 + 60, heavy=0.9)
    _label(run, [f"due-{place}" for place in range(400)], "heavy")
    verdict, records = _judge(run, window=None, now=START + 86400 + 3600)
    last, due = str(TimeWindow(START + 86400, START + 86400 + 3600)), str(WINDOW)
    accuracy, drift = records["alert accuracy"], records["alert input-drift"]
    assert (accuracy.value, accuracy.n, accuracy.verdict) == (0.5, ROWS, Verdict.FAIL)
    assert (drift.verdict, verdict) == (Verdict.FAIL, Verdict.FAIL)
    assert (due in accuracy.qa_method, last in drift.qa_method) == (True, True)
    assert (records["window"].value["window"], records["label join"].value["window"]) == (last, due)
    assert records["label join"].value["due"] is True


def test_an_hourly_pass_is_not_unknown_for_labels_that_nobody_can_have_yet(run: RunContext, log: Log) -> None:
    """A version of today answered nothing in the window of yesterday whose labels are due; its traffic is judged."""
    log("last", at=START + 86400 + 60)
    verdict, records = _judge(run, window=None, now=START + 86400 + 3600)
    assert verdict is Verdict.PASS
    assert records["alert accuracy"].verdict is Verdict.UNKNOWN


def test_a_window_that_is_asked_for_before_its_labels_are_due_is_judged_by_what_it_has(
    run: RunContext, log: Log
) -> None:
    """It is that very window; without enough labels its quality is unknown and does not count, with enough it does."""
    log("a")
    verdict, records = _judge(run, now=WINDOW.end)
    assert (verdict, records["alert accuracy"].verdict) == (Verdict.PASS, Verdict.UNKNOWN)
    _label(run, [f"a-{place}" for place in range(400)], "heavy")
    verdict, records = _judge(run, now=WINDOW.end)
    assert (verdict, records["alert accuracy"].verdict) == (Verdict.FAIL, Verdict.FAIL)


def _replanned(run: RunContext, **parts: Any) -> RunContext:
    return replace(run, plan=Plan.model_validate({**run.plan.model_dump(), **parts}))


def test_a_slice_is_judged_by_its_own_labels(run: RunContext, log: Log) -> None:
    """Half of the rows are light and none of them was: no counter of the server tells that, the log does."""
    log("a")
    _label(run, [f"a-{place}" for place in range(400)], "heavy")
    sliced = {"id": "lights", "metric": "accuracy", "at_least": 0.8, "slice": "weight=-1.0", "enforce": ["alert"]}
    _, records = _judge(_replanned(run, criteria=[sliced]))
    found = records["alert lights"]
    assert (found.value, found.n, found.verdict) == (0.0, 200, Verdict.FAIL)


def test_errors_of_numbers_are_judged_by_joined_labels(run: RunContext, log: Log) -> None:
    """Answers of 3 and labels of 5: the error is 2 in every row, and the limit decides."""
    log("a")
    path = run.home / "predictions" / "a.parquet"
    pl.read_parquet(path).with_columns(pl.lit("3.0").cast(pl.Categorical).alias("label")).write_parquet(path)
    _label(run, [f"a-{place}" for place in range(300)], "5")
    active = served_model(run.home)
    bundle = Path(active.bundle)
    spec = read_bundle(bundle)
    reference = Reference(
        features=[], classes={}, prediction=FeatureReference(name="prediction", edges=[4.0], counts=[500, 500])
    )
    write_reference(bundle / REFERENCE_FILE, reference)
    outputs = [Tensor(name="value", datatype="FP32", shape=[-1, 1])]
    numbers = {"classes": [], "task": "tabular-regression", "outputs": outputs}
    sealed = seal_bundle(bundle, spec.model_copy(update=numbers))
    write_active(run.home, active.model_copy(update={"digest": sealed.digest}))
    criteria = [
        {"id": "within", "metric": "mae", "at_most": 2.5, "enforce": ["alert"]},
        {"id": "beyond", "metric": "rmse", "at_most": 1.5, "enforce": ["retrain"]},
    ]
    model = {**run.plan.model.model_dump(), "task": "tabular-regression"}
    _, records = _judge(_replanned(run, criteria=criteria, model=model))
    within, beyond = records["alert within"], records["retrain beyond"]
    assert (within.value, within.n, within.verdict) == (2.0, 300, Verdict.PASS)
    assert (beyond.value, beyond.verdict) == (2.0, Verdict.FAIL)


def test_silence_is_unknown(run: RunContext, log: Log) -> None:
    """A window in which nothing was logged is no pass."""
    log("a", at=START + 7200)
    verdict, records = _judge(run)
    assert verdict is Verdict.UNKNOWN
    assert records["window"].verdict is Verdict.UNKNOWN


def test_a_broken_prediction_log_is_named(run: RunContext, log: Log) -> None:
    """The file, and what to do."""
    (run.home / "predictions" / "torn.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(InfrastructureError, match=r"torn\.parquet: not a prediction log"):
        _judge(run)


def test_a_broken_feedback_log_is_read_as_the_watch_reads_it(run: RunContext, log: Log) -> None:
    """Lines that are torn, foreign or half written cost both the same labels, and both count the same lines."""
    log("a")
    feedback = run.home / "feedback.jsonl"
    _label(run, [f"a-{place}" for place in range(150)], "heavy")
    with feedback.open("a", encoding="utf-8") as file:
        file.write('{}\n{"prediction_id": "a-150", "label": "hea')
    _label(run, [f"a-{place}" for place in range(151, 301)], "heavy")
    with feedback.open("a", encoding="utf-8") as file:
        file.write('{"prediction_id": "a-301", "label": "light"')
    _, records = _judge(run)
    (watched,) = measure_quality(run.plan, LabelLogs(run.home / "predictions", feedback), WINDOW)
    joined, accuracy = records["label join"].value, records["alert accuracy"]
    assert (joined["agree"], joined["disagree"], joined["broken_lines"]) == (199, 101, 2)
    assert (watched.labelled, watched.broken_lines) == (300, 2)
    assert accuracy.value == watched.qualities["accuracy"].value
