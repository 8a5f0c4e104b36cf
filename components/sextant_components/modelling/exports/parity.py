"""The proof beside every export: golden requests answered by what was exported, against the sealed answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_plan.bundle import GOLDEN_FILE, BundleSpec
from sextant_plan.canonical import digest_of_file
from sextant_plan.errors import ExitCode, SextantError
from sextant_plan.schema import Closed
from sextant_plan.verdicts import Verdict

PARITY_FILE = "parity.json"


class Parity(Closed):
    """The contents of parity.json; `off` is the largest difference, `files` the digest of each exported file.

    `method` says what answered the golden requests.
    """

    target: str
    name: str
    version: str
    bundle_digest: str
    method: str
    rows: int
    off: float
    tolerance: float
    verdict: Verdict
    files: dict[str, str]


class ExportDiffers(SextantError):
    """What was exported does not answer as the bundle does."""

    exit_code = ExitCode.GATE_FAILED

    def __init__(self, folder: Path, parity: Parity) -> None:
        super().__init__(
            f"{folder}: the export is off by {parity.off:.3g} on the golden requests, more than {parity.tolerance:g}. "
            "Do not hand it out; export the model with another engine, or raise model.tolerance and train again."
        )


def golden_of(bundle: Path, spec: BundleSpec) -> tuple[dict[str, NDArray[Any]], NDArray[np.float32]]:
    """Return the golden requests' inputs by name, and the sealed answers."""
    with np.load(bundle / GOLDEN_FILE, allow_pickle=False) as golden:
        inputs = {tensor.name: golden[tensor.name] for tensor in spec.inputs}
        return inputs, golden[spec.outputs[0].name]


def write_parity(
    folder: Path,
    spec: BundleSpec,
    found: NDArray[np.float32],
    expected: NDArray[np.float32],
    *,
    target: str,
    method: str,
) -> Parity:
    """Write the proof over all files that lie in `folder`. Raises ExportDiffers if it is none."""
    off = float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf")
    parity = Parity(
        target=target,
        name=spec.name,
        version=spec.version,
        bundle_digest=spec.digest,
        method=method,
        rows=len(expected),
        off=min(off, 1e9),
        tolerance=spec.golden_tolerance,
        verdict=Verdict.PASS if off <= spec.golden_tolerance else Verdict.FAIL,
        files=_digests(folder),
    )
    (folder / PARITY_FILE).write_text(parity.model_dump_json(indent=1) + "\n", encoding="utf-8")
    if parity.verdict is not Verdict.PASS:
        raise ExportDiffers(folder, parity)
    return parity


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != PARITY_FILE)
    return {str(path.relative_to(folder)): digest_of_file(path) for path in files}


def describe_model(spec: BundleSpec, files: Mapping[str, Any]) -> str:
    """Return what a program needs that feeds the network itself, as JSON."""
    described = {
        "name": spec.name,
        "version": spec.version,
        "bundle_digest": spec.digest,
        "classes": spec.classes,
        "image": spec.image.model_dump() if spec.image else None,
        "columns": [column.model_dump(mode="json") for column in spec.columns],
        "output": spec.outputs[0].name,
        "tolerance": spec.golden_tolerance,
        "abstain_below": spec.serving.abstain_below,
        **files,
    }
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"
