"""Studies of the sealed rows beyond the criteria: worse inputs, attacks, strangers, wrong requests, undeclared slices.

Each is recorded with its table. They inform, and the criteria on their metrics judge; wrong requests judge by
themselves, because no plan can want a server that falls over them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.tables import read_rows, slice_columns, stored_name
from sextant_components.evaluation.attacks import fgsm, pgd
from sextant_components.evaluation.corruptions import SEVERITIES
from sextant_components.evaluation.robustness import Right, severity_table
from sextant_components.evaluation.server_probe import Probe
from sextant_components.evaluation.slice_search import search_slices
from sextant_components.evidence.gates import Settled, unavailable
from sextant_components.evidence.metrics import accuracy
from sextant_components.modelling.explanation import Run
from sextant_components.modelling.tensors import Examples, Inputs
from sextant_plan.bounds import Groups
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import Attack, Plan
from sextant_plan.verdicts import Estimate, Verdict

if TYPE_CHECKING:
    import polars as pl

    from sextant_serving.architectures import Network

CONFIDENCE = 0.95


@dataclass(frozen=True)
class AttackResult:
    """Which attacked rows are right under the stronger attack, or why that is not known; by method; their groups."""

    right: Right | Settled
    by_method: Mapping[str, Right]
    groups: Groups = None


def record_corruptions(ledger: LedgerWriter, right: Mapping[tuple[str, int], Right], groups: Groups = None) -> None:
    """Record the accuracy under each corruption at each severity; nothing where no corruption was tried."""
    if not right:
        return
    table = severity_table(right, CONFIDENCE, groups)
    mean = {kind: float(np.mean([right[kind, level].mean() for level in SEVERITIES])) for kind, _ in right}
    ledger.record(
        "corruptions by severity",
        requirement="it is known how far the accuracy falls as inputs get worse",
        risk="a model that is good on clean pictures breaks at the first bad one",
        qa_method="every sealed picture under each planned corruption at five severities, after ImageNet-C (Hendrycks "
        "and Dietterich 2019); criteria judge severity 3",
        verdict=Verdict.PASS,
        value={"mean_accuracy": {kind: round(share, 6) for kind, share in mean.items()}},
        artifacts={"corruptions.json": ledger.artifacts.put_json(table)},
        counts=False,
    )


def record_strangers(ledger: LedgerWriter, areas: Mapping[str, Estimate], abstain_below: float) -> None:
    """Record how well the model's highest probability tells the data from inputs of no class."""
    table = [
        {"kind": kind, "auroc": area.value, "low": area.low, "high": area.high, "n": area.n}
        for kind, area in areas.items()
    ]
    worst = min(areas, key=lambda kind: areas[kind].value)
    ledger.record(
        "out of distribution",
        requirement="it is known whether the model is less sure of inputs that belong to no class",
        risk="the model is sure of itself where it knows nothing",
        qa_method="area under the ROC curve of the highest probability, by which the server abstains: sealed rows "
        "against as many made inputs of each kind",
        verdict=Verdict.PASS if areas[worst].low > 0.5 else Verdict.UNKNOWN,
        value={"worst": worst, "auroc": round(areas[worst].value, 6), "abstain_below": abstain_below},
        artifacts={"strangers.json": ledger.artifacts.put_json(table)},
        counts=False,
    )


def attack_rows(run: Run, network: Network | Settled, examples: Examples, attack: Attack | None) -> AttackResult:
    """Attack the first sealed rows of every class by the network's gradients, and ask the served engine."""
    if attack is None:
        return AttackResult(unavailable("the plan has no evaluation.attack"), {})
    if isinstance(network, Settled):
        return AttackResult(network, {})
    rows = examples.spread(attack.rows)

    def right(inputs: Inputs) -> Right:
        return np.asarray(run(inputs).argmax(axis=1) == rows.labels)

    by_method = {"none": right(rows.inputs), "fgsm": right(fgsm(network, rows, attack))}
    by_method["pgd"] = right(pgd(network, rows, attack))
    return AttackResult(by_method["pgd"], by_method, rows.groups)


def record_attack(ledger: LedgerWriter, attack: Attack | None, result: AttackResult) -> None:
    """Record the accuracy without attack, under FGSM and under PGD; nothing where the plan asks for none."""
    if attack is None:
        return
    table: list[dict[str, Any]] = []
    for method, right in result.by_method.items():
        found = accuracy(right, CONFIDENCE, result.groups)
        table.append({"attack": method, "value": found.value, "low": found.low, "high": found.high, "n": found.n})
    unknown = result.right.reason if isinstance(result.right, Settled) else None
    ledger.record(
        "noise chosen against the model",
        requirement="it is known how far changes too small to see turn the answers",
        risk="somebody who wants another answer gets it",
        qa_method=f"fast gradient sign and {attack.steps} steps of projected gradient descent with the trained "
        f"network's gradients, within {attack.pixels} of 255 a pixel and {attack.deviations:g} deviations a column; "
        "answers of the served engine",
        verdict=Verdict.PASS if unknown is None else Verdict.UNKNOWN,
        value=unknown or {row["attack"]: round(row["value"], 6) for row in table},
        artifacts={"attack.json": ledger.artifacts.put_json(table)} if table else {},
        counts=False,
    )


def record_wrong_requests(ledger: LedgerWriter, probe: Probe | Settled) -> None:
    """Judge whether the server refused every wrong request as such and answered a sound one afterwards as before.

    Where no sound request had an answer, no harm can be told, and a server that refuses everything proves nothing.
    """
    if isinstance(probe, Settled):
        return
    improper = {refusal.fault: refusal.status for refusal in probe.refusals if not refusal.proper}
    harmed = bool(improper) or probe.unharmed is False
    verdict = Verdict.UNKNOWN if probe.unharmed is None else Verdict.PASS
    ledger.record(
        "fuzz: wrong requests",
        requirement="a wrong request is refused with a 4xx code and harms no other",
        risk="one client's fault takes the service from all",
        qa_method="broken bodies, shapes, types and pictures to the real server, then a sound request again",
        verdict=Verdict.FAIL if harmed else verdict,
        value={"sent": len(probe.refusals), "not_refused": improper, "sound_request_after": probe.unharmed},
    )


def record_cold_start(ledger: LedgerWriter, probe: Probe | Settled) -> None:
    """Record how long a server takes from nothing to its first answer; a new pod takes at least that."""
    if isinstance(probe, Settled) or probe.start is None:
        return
    table = [{"name": "process start to ready, s", "value": round(probe.start.ready_seconds, 3)}]
    if probe.start.first_ms is not None:
        table.append({"name": "first answer, ms", "value": round(probe.start.first_ms, 3)})
    ledger.record(
        "cold start",
        requirement="it is known how long a new server takes to answer",
        risk="traffic rises, pods are added, and they come too late",
        qa_method="one start of the real server on the bundle: digests, golden requests and warm-up are part of it",
        verdict=Verdict.PASS,
        artifacts={"cold_start.json": ledger.artifacts.put_json(table)},
        counts=False,
    )


def record_found_slices(
    ledger: LedgerWriter, right: Right, columns: Mapping[str, Sequence[object]], groups: Groups = None
) -> None:
    """Record the slices that nobody declared and on which the model is proved worse than elsewhere."""
    by_row = "" if groups is None else "; rows are counted one by one, though some depend on each other"
    search = search_slices(right, columns)
    ledger.record(
        "slices found",
        requirement="no value, range or pair of them has proved more errors than the other rows",
        risk="a weakness hides where nobody thought of looking",
        qa_method=f"Fisher's exact test, one-sided, on {search.tried} slices of the sealed rows; p-values by Holm, so "
        f"that the chance of any false finding is {1 - CONFIDENCE:.2g}{by_row}; it informs",
        verdict=Verdict.UNKNOWN if search.found else Verdict.PASS,
        value={"tried": search.tried, "found": [each.slice for each in search.found]},
        artifacts={"found_slices.json": ledger.artifacts.put_json([asdict(each) for each in search.found])},
        counts=False,
    )


def searched_columns(plan: Plan, snapshot: Path, sealed: pl.DataFrame, inputs: Inputs) -> dict[str, list[object]]:
    """Return what slices are searched in: the plan's columns, slices and label, the pictures' light and contrast."""
    rows = read_rows(snapshot)[sealed["row_id"].to_list()]
    names = dict.fromkeys([*slice_columns(plan), *plan.data.columns, *plan.data.sensitive, plan.data.label])
    stored = {name: stored_name(plan, name) for name in names}
    columns: dict[str, list[object]] = {
        name: [_plain(value) for value in rows[column].to_list()]
        for name, column in stored.items()
        if column in rows.columns
    }
    if "image" in inputs:
        pictures: NDArray[Any] = inputs["image"].reshape(len(inputs["image"]), -1)
        columns["picture brightness"] = pictures.mean(axis=1).tolist()
        columns["picture contrast"] = pictures.std(axis=1).tolist()
    return columns


def _plain(value: object) -> object:
    """Return numbers as numbers, what is not finite as missing, and all else as text."""
    if isinstance(value, bool) or value is None:
        return value if value is None else str(value)
    if isinstance(value, int | float):
        return value if isfinite(value) else None
    return str(value)
