"""Drill bad-model: three bundles that must not serve are put forward while the version in service goes on answering.

A damaged file meets the digests, another network than was sealed meets the golden requests, and names of classes that
were mixed up, which no server can know to be wrong, meet the plan's own limit on accuracy. Where the answers are
numbers, names of columns are mixed up instead, and the limit is that on the errors.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_components.deployment.drills.detectors import Detector
from sextant_components.deployment.drills.result import Result
from sextant_components.deployment.drills.stage import Stage, asking, serving
from sextant_components.deployment.replay import LiveRow
from sextant_plan.bounds import root_mean_square, size_mean
from sextant_plan.bundle import GOLDEN_FILE, BundleSpec, Column, answer_name, read_bundle, seal_bundle
from sextant_plan.schema import Criterion
from sextant_plan.share_rule import chernoff
from sextant_plan.verdicts import Estimate, Verdict, judge

if TYPE_CHECKING:
    from sextant_serving.client import Client

QUALITY = frozenset({"accuracy", "mae", "rmse"})


def rehearse(stage: Stage, detector: Detector) -> Result:  # noqa: ARG001 - gates refuse it before any alert could
    """Put the bundles forward one after the other."""
    with serving(stage) as stable, asking(stage, stable.url) as load:
        began = time.monotonic()
        refused = {
            "damaged file": _is_refused(stage, _damaged(stage)),
            "another network": _is_refused(stage, _other_network(stage)),
        }
        misnamed = _misnamed_verdict(stage)
        seconds = time.monotonic() - began
    caught = all(refused.values()) and misnamed is not Verdict.PASS
    return Result(
        fault=f"a damaged file, a network that was not sealed, mixed-up names of {_named(stage.spec)}",
        detected_after=seconds if caught else None,
        detected_by=f"digests, golden requests, gate on {'accuracy' if stage.spec.classes else 'errors'}",
        recovery="none of them is in service; the version in service went on answering",
        recovered_after=0.0 if caught and load.failed == 0 else None,
        requests=load.requests,
        failed=load.failed,
        facts={**{f"{name} refused": int(done) for name, done in refused.items()}, "mixed-up names": str(misnamed)},
    )


def _is_refused(stage: Stage, bundle: Path) -> bool:
    from sextant_serving.launch import ServerDidNotStart

    try:
        with serving(stage, bundle=bundle):
            return False
    except ServerDidNotStart:
        return True


def _copy(stage: Stage, name: str) -> Path:
    target = stage.scratch / name
    shutil.copytree(stage.bundle, target)
    return target


def _damaged(stage: Stage) -> Path:
    """Change one byte of the network's file."""
    bundle = _copy(stage, "damaged")
    path = bundle / stage.spec.members[0].file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    return bundle


def _other_network(stage: Stage) -> Path:
    """Seal golden requests that another network would have answered so: each answer is its neighbour's."""
    import numpy as np

    bundle = _copy(stage, "other-network")
    with np.load(bundle / GOLDEN_FILE, allow_pickle=False) as golden:
        arrays = {name: golden[name] for name in golden.files}
    name = answer_name(stage.spec.classes)
    arrays[name] = np.roll(arrays[name], 1, axis=1 if stage.spec.classes else 0)
    np.savez(bundle / GOLDEN_FILE, **arrays)
    seal_bundle(bundle, stage.spec)
    return bundle


def _misnamed_verdict(stage: Stage) -> Verdict:
    """Return the verdict of the plan's limits on quality over labelled rows; unknown where it has none."""
    from sextant_serving.client import Client

    bundle = _copy(stage, "misnamed")
    seal_bundle(bundle, misnamed(stage.spec))
    spec = read_bundle(bundle)
    limits = [each for each in stage.plan.criteria if each.metric in QUALITY and not (each.slice or each.relative_to)]
    with serving(stage, bundle=bundle) as server, Client(server.url, stage.active.name) as client:
        answers = [_answer(client, row, spec.classes) for row in stage.rows]
    verdicts = [
        judge(
            _quality(answers, [row.label for row in stage.rows], limit),
            at_least=limit.at_least,
            at_most=limit.at_most,
            min_n=limit.min_n,
        )
        for limit in limits
    ]
    return min(verdicts, key=[Verdict.FAIL, Verdict.UNKNOWN, Verdict.PASS].index, default=Verdict.UNKNOWN)


def _named(spec: BundleSpec) -> str:
    return "classes" if spec.classes else "columns"


def misnamed(spec: BundleSpec) -> BundleSpec:
    """Return a description in which each class, or each column of numbers, has its neighbour's name."""
    if spec.classes:
        return spec.model_copy(update={"classes": [*spec.classes[1:], spec.classes[0]]})
    names = [each.name for each in spec.columns if _is_sent_number(each)]
    others = iter([*names[1:], *names[:1]])
    columns = [
        each.model_copy(update={"name": next(others)}) if _is_sent_number(each) else each for each in spec.columns
    ]
    return spec.model_copy(update={"columns": columns})


def _is_sent_number(column: Column) -> bool:
    return column.view is None and column.vocabulary is None


def _quality(answers: list[str], labels: list[str], limit: Criterion) -> Estimate:
    import numpy as np

    if limit.metric == "accuracy":
        right = sum(said == label for said, label in zip(answers, labels, strict=True))
        return chernoff(right, len(labels), limit.confidence)
    errors = np.array(answers, np.float64) - np.array(labels, np.float64)
    return (
        size_mean(np.abs(errors), limit.confidence)
        if limit.metric == "mae"
        else root_mean_square(errors, limit.confidence)
    )


def _answer(client: Client, row: LiveRow, classes: list[str]) -> str:
    if row.picture is not None:
        return classes[int(client.infer_picture(row.picture, row.fields)["probabilities"][0].argmax())]
    (said,) = client.predict_v1([row.fields])
    if not classes:
        return str(said["value"])
    shares = said["probabilities"]
    return str(max(shares, key=shares.__getitem__))
