"""From train to bundle: every engine gives the network's answers, and a bundle is sealed, clean and checkable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sextant_components.deployment.bundle_store import store_bundle, stored_path
from sextant_components.evaluation.evaluate import run_evaluate
from sextant_components.modelling.bundle_export import TOLERANCE
from sextant_components.modelling.model_file import read_model
from sextant_components.modelling.optimise import run_optimise
from sextant_plan.bundle import BUNDLE_FILE, BundleSpec, read_bundle, seal_bundle
from sextant_plan.errors import BundleCorrupt
from sextant_plan.ledger import Record, read_run
from sextant_plan.verdicts import Verdict
from sextant_serving.engines import check_golden, load_engine

OpenRun = Callable[..., Any]


def _records(made: Any, step: str) -> dict[str, Record]:
    return {record.task: record for record in read_run(made.context.run)[step]}


def test_training_leaves_its_proofs(made: Any) -> None:
    """Wiring, falling loss, baseline and simpler candidates are each on record, and the search's table too."""
    records = _records(made, "train")
    assert {task: record.verdict for task, record in records.items() if record.verdict is not Verdict.PASS} == {}
    assert {
        "overfit one batch: mlp",
        "loss falls",
        "beats baseline on validation rows",
        "beats simpler candidates",
        "seeds",
    } <= set(records)
    assert set(records["search"].artifacts) == {"trials.json"}


def test_the_seeds_differ_and_their_mean_has_students_interval(made: Any) -> None:
    """Over two fits one degree of freedom is left: at 0.95, six standard errors to either side."""
    seeds = read_model(made.model).seeds
    assert [each.seed for each in seeds] == [0, 1]
    assert seeds[0].valid_loss != seeds[1].valid_loss
    scores = [each.valid_score for each in seeds]
    middle, half = sum(scores) / 2, 6.313751514675043 * abs(scores[0] - scores[1]) / 2
    record = _records(made, "train")["seeds"]
    assert record.value == pytest.approx(middle)
    np.testing.assert_allclose(np.asarray(record.interval, np.float64), [middle - half, middle + half], rtol=1e-9)


def test_every_engine_answers_as_the_network(made: Any, bars: Any, tmp_path: Path) -> None:
    """Both engines of the plan agree with the trained network on every validation row, and both were timed."""
    records = _records(made, "optimise")
    parity = [records[f"engine parity: {engine}"].verdict for engine in ("torch-safetensors", "onnx")]
    assert parity == [Verdict.PASS, Verdict.PASS]
    table = made.context.artifacts.read_bytes(records["engine latency"].artifacts["engines.json"])
    assert table.count(b'"chosen":true') == 1
    assert table.count(b'"batch_1_ms":') == 2
    for engine in ("torch-safetensors", "onnx"):
        spec = _optimise(made, bars, tmp_path / engine, engines=[engine])
        check_golden(load_engine(tmp_path / engine, spec), tmp_path / engine, spec)


def _optimise(made: Any, bars: Any, bundle: Path, *, engines: list[str]) -> BundleSpec:
    plan = made.context.plan
    model = plan.model.model_copy(update={"engines": engines})
    context = type(made.context)(**{**vars(made.context), "plan": plan.model_copy(update={"model": model})})
    run_optimise(context, snapshot=bars.snapshot, splits=bars.splits, model=made.model, bundle=bundle)
    return read_bundle(bundle)


def test_a_bundle_is_made_afresh_over_what_a_killed_attempt_left(made: Any, bars: Any, tmp_path: Path) -> None:
    """Nothing of an earlier attempt is sealed, and the same weights are the same version."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"half a mod")
    (folder / "leftover.bin").write_bytes(b"x")
    spec = _optimise(made, bars, folder, engines=[made.spec.engine])
    assert "leftover.bin" not in spec.files
    assert spec.version == made.spec.version
    assert {"reference.json", "golden.npz"} < set(spec.files)


def test_the_bundle_says_what_the_server_needs(made: Any) -> None:
    """Limits on latency become edges, and only inputs that the chosen network reads are asked for."""
    spec = made.spec
    assert spec.serving.latency_edges_ms == [100.0, 5000.0]
    assert [(tensor.name, tensor.shape) for tensor in spec.inputs] == [("image", [-1, 12, 12, 1])]
    assert spec.plan_hash == made.context.plan_hash
    assert spec.members[0].architecture == read_model(made.model).architecture


def test_a_changed_weight_is_refused_before_anything_is_loaded(
    made: Any, bars: Any, bundle: Path, tmp_path: Path
) -> None:
    """Evaluation and the store both refuse a bundle whose file is not the sealed one."""
    weights = bundle / made.spec.members[0].file
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BundleCorrupt, match=r"but should have sha256:"):
        run_evaluate(made.context, snapshot=bars.snapshot, splits=bars.splits, bundle=bundle)
    with pytest.raises(BundleCorrupt):
        store_bundle(tmp_path, bundle, made.spec)
    assert not list((tmp_path / "bundles").rglob("*.*"))


def test_other_weights_sealed_anew_miss_the_golden_answers(made: Any, bundle: Path) -> None:
    """Digests alone would accept a resealed bundle; the golden requests do not."""
    with np.load(bundle / "golden.npz", allow_pickle=False) as golden:
        arrays = {name: golden[name] for name in golden.files}
    arrays["probabilities"] = arrays["probabilities"] + 10 * TOLERANCE
    np.savez(bundle / "golden.npz", **arrays)
    (bundle / BUNDLE_FILE).unlink()
    spec = seal_bundle(bundle, made.spec)
    with pytest.raises(BundleCorrupt, match=r"golden\.npz"):
        check_golden(load_engine(bundle, spec), bundle, spec)


def test_a_bundle_is_stored_once_under_its_digest(made: Any, bundle: Path, tmp_path: Path) -> None:
    """A copy cut off by a kill is no copy; the second attempt puts the whole bundle in its place."""
    target = stored_path(tmp_path, made.spec)
    partial = target.with_name(f".{target.name}.1")
    partial.mkdir(parents=True)
    (partial / "model.onnx").write_bytes(b"half")
    assert store_bundle(tmp_path, bundle, made.spec) == store_bundle(tmp_path, bundle, made.spec) == target
    assert read_bundle(target).digest == made.spec.digest
