"""Drill bad-model: three bundles that must not serve are put forward while the version in service goes on answering.

A damaged file meets the digests, another network than was sealed meets the golden requests, and names of classes that
were mixed up, which no server can know to be wrong, meet the plan's own limit on accuracy.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_components.drills.detectors import Detector
from sextant_components.drills.result import Result
from sextant_components.drills.stage import Stage, asking, serving
from sextant_components.replay import LiveRow
from sextant_plan.bundle import GOLDEN_FILE, read_bundle, seal_bundle
from sextant_plan.share_rule import chernoff
from sextant_plan.verdicts import Verdict, judge

if TYPE_CHECKING:
    from sextant_serving.client import Client

QUALITY = frozenset({"accuracy"})


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
        fault="a damaged file, a network that was not sealed, mixed-up names of classes",
        detected_after=seconds if caught else None,
        detected_by="digests, golden requests, gate on accuracy",
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
    """Seal golden requests that another network would have answered so: each class's share is its neighbour's."""
    import numpy as np

    bundle = _copy(stage, "other-network")
    with np.load(bundle / GOLDEN_FILE, allow_pickle=False) as golden:
        arrays = {name: golden[name] for name in golden.files}
    arrays["probabilities"] = np.roll(arrays["probabilities"], 1, axis=1)
    np.savez(bundle / GOLDEN_FILE, **arrays)
    seal_bundle(bundle, stage.spec)
    return bundle


def _misnamed_verdict(stage: Stage) -> Verdict:
    """Return the verdict of the plan's limits on accuracy over labelled rows; unknown where it has none."""
    from sextant_serving.client import Client

    bundle = _copy(stage, "misnamed")
    classes = stage.spec.classes
    seal_bundle(bundle, stage.spec.model_copy(update={"classes": [*classes[1:], classes[0]]}))
    classes = read_bundle(bundle).classes
    limits = [each for each in stage.plan.criteria if each.metric in QUALITY and not (each.slice or each.relative_to)]
    with serving(stage, bundle=bundle) as server, Client(server.url, stage.active.name) as client:
        right = sum(_answer(client, row, classes) == row.label for row in stage.rows)
    verdicts = [
        judge(
            chernoff(right, len(stage.rows), limit.confidence),
            at_least=limit.at_least,
            at_most=limit.at_most,
            min_n=limit.min_n,
        )
        for limit in limits
    ]
    return min(verdicts, key=[Verdict.FAIL, Verdict.UNKNOWN, Verdict.PASS].index, default=Verdict.UNKNOWN)


def _answer(client: Client, row: LiveRow, classes: list[str]) -> str:
    if row.picture is not None:
        return classes[int(client.infer_picture(row.picture, row.fields)["probabilities"][0].argmax())]
    shares = client.predict_v1([row.fields])[0]["probabilities"]
    return str(max(shares, key=shares.__getitem__))
