"""What an evaluation records besides the criteria: what was tested, and the pictures and tables a reader needs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.evaluation.looks import Look
from sextant_components.evaluation.server_probe import Probe
from sextant_components.evidence import charts, metrics
from sextant_components.evidence.gates import Settled, better
from sextant_components.evidence.metrics import Answers
from sextant_components.modelling.explanation import (
    SAME,
    Run,
    integrated_gradients,
    occlusion_map,
    permutation_importance,
    random_network,
    randomised,
    rank_correlation,
)
from sextant_components.modelling.objectives import Objective, objective_of
from sextant_components.modelling.tensors import Examples
from sextant_components.runs.subject import SUBJECT_TASK
from sextant_plan.bounds import Groups, alike_rows, quantile
from sextant_plan.bundle import BundleSpec
from sextant_plan.ledger import LedgerWriter
from sextant_plan.promotion import Promotion
from sextant_plan.schema import Explanation
from sextant_plan.verdicts import Estimate, Verdict

if TYPE_CHECKING:
    from sextant_serving.architectures import Network

CHAMPION_TASK = "champion"
CONFIDENCE = 0.95
ERRORS_TASK, LARGEST_TASK, ERRORS_FILE = "confident errors", "largest errors", "errors.json"
MOST_ERRORS = 24
EXPLAINED = 6  # pictures in the sheet
ENOUGH_VARIETY = 2


def record_look(ledger: LedgerWriter, look: Look) -> None:
    """Record which look at the sealed rows this is."""
    ledger.record(
        "look",
        requirement="the sealed rows are opened no more often than the plan allows",
        risk="a test set that is looked at often enough becomes a training set",
        qa_method="write-once parameters in MLflow for the sealed rows' digest and the plan's name",
        verdict=Verdict.PASS,
        value={"look": look.number, "budget": look.budget},
    )


def record_subject(ledger: LedgerWriter, spec: BundleSpec) -> None:
    """Record which bundle all further records are about; the decision relies on it."""
    ledger.record(
        SUBJECT_TASK,
        requirement="the evidence is about the bundle that is decided on",
        risk="one model is tested and another is released",
        qa_method="every file's digest verified, golden requests replayed on the server's own engine",
        verdict=Verdict.PASS,
        value={"digest": spec.digest, "version": spec.version, "engine": spec.engine},
    )


def record_champion(ledger: LedgerWriter, champion: Promotion | None) -> None:
    """Record which promoted version the model was compared with; a rollout over another one is refused."""
    ledger.record(
        CHAMPION_TASK,
        requirement="the model is compared with what is live",
        risk="a promotion in between makes the comparison void",
        qa_method="the last record of the promotion ledger",
        verdict=Verdict.PASS,
        value={"sequence": champion.sequence, "version": champion.version} if champion else None,
        counts=False,
    )


def record_baseline(
    ledger: LedgerWriter, objective: Objective, gain: Estimate, description: Mapping[str, object]
) -> None:
    """Judge whether the model beats the goal's baseline; a plan whose own criterion asks for it needs no other."""
    ledger.record(
        "beats baseline",
        requirement=f"the model is {objective.better} than the baseline of the goal",
        risk="machine learning is paid for where a rule would do",
        qa_method=f"difference on the same sealed rows, which chose nothing, {objective.bound}, one-sided at "
        f"{CONFIDENCE:g}",
        verdict=better(gain),
        estimate=gain,
        artifacts={"baseline.json": ledger.artifacts.put_json(description)},
    )


def record_groups(ledger: LedgerWriter, groups: Groups, rows: int) -> None:
    """Record how many of the sealed rows depend on each other, and how they are counted; nothing where none does."""
    if groups is None:
        return
    _, sizes = np.unique(groups, return_counts=True)
    ledger.record(
        "rows in groups",
        requirement="rows that depend on each other are not counted as if they did not",
        risk="one customer's fifty rows prove as much as those of fifty customers, and a gate passes by chance",
        qa_method="the groups that prepare kept together; shares on the rows over their design effect (Korn and "
        "Graubard 1998), means by the groups' sums (Liang and Zeger 1986), bootstraps of whole groups; n is the number "
        "of independent rows that this is worth, docs/adr/0052",
        verdict=Verdict.PASS,
        value={
            "rows": rows,
            "groups": len(sizes),
            "largest": int(sizes.max()),
            "rows_if_groups_are_alike": round(alike_rows(groups), 1),
        },
        counts=False,
    )


def record_confusion(ledger: LedgerWriter, answers: Answers, classes: list[str]) -> None:
    """Record the confusion matrix, rows labels and columns predictions."""
    matrix = metrics.confusion(answers, len(classes))
    inform(
        ledger,
        "confusion matrix",
        requirement="it is known which classes are taken for which",
        risk="an average hides a class that is never recognised",
        artifacts={
            "confusion.json": ledger.artifacts.put_json({"classes": classes, "matrix": matrix.tolist()}),
            "confusion.png": ledger.artifacts.put_bytes(charts.confusion_matrix(matrix, classes)),
        },
    )


def record_reliability(ledger: LedgerWriter, answers: Answers) -> None:
    """Record the reliability diagram."""
    means, shares, counts = metrics.reliability_bins(answers)
    inform(
        ledger,
        "reliability",
        requirement="it is known what a stated probability is worth",
        risk="people trust a confidence that is not earned",
        artifacts={
            "reliability.json": ledger.artifacts.put_json(
                [
                    {"confidence": float(mean), "accuracy": float(share), "n": int(count)}
                    for mean, share, count in zip(means, shares, counts, strict=True)
                ]
            ),
            "reliability.png": ledger.artifacts.put_bytes(charts.reliability(means, shares, counts)),
        },
    )


def record_slices(ledger: LedgerWriter, answers: Answers, slices: Mapping[str, list[str]]) -> None:
    """Record the accuracy of every value of every slice column, with bounds."""
    table: list[dict[str, Any]] = []
    for column, values in slices.items():
        for value in sorted(set(values)):
            part = answers.take(np.asarray([found == value for found in values], dtype=np.bool_))
            estimate = metrics.accuracy(part.right, CONFIDENCE, part.groups)
            table.append(
                {
                    "slice": f"{column}={value}",
                    "n": estimate.n,
                    "value": estimate.value,
                    "low": estimate.low,
                    "high": estimate.high,
                }
            )
    inform(
        ledger,
        "slices",
        requirement="it is known for whom the model works less well",
        risk="an average hides a group that is served badly",
        artifacts={"slices.json": ledger.artifacts.put_json(table)},
    )


def record_errors(ledger: LedgerWriter, answers: Answers, examples: Examples, classes: list[str]) -> None:
    """Record the wrong answers that the model was surest of, as a queue for experts."""
    wrong = np.flatnonzero(~answers.right)
    worst = wrong[np.argsort(-answers.confidence[wrong], kind="stable")][:MOST_ERRORS]
    rows = [
        {
            "row_id": examples.row_ids[row],
            "label": classes[answers.labels[row]],
            "predicted": classes[answers.predicted[row]],
            "probability": float(answers.confidence[row]),
        }
        for row in worst
    ]
    artifacts = {ERRORS_FILE: ledger.artifacts.put_json(rows)}
    if "image" in examples.inputs and len(worst):
        titles = [f"{row['label']} as {row['predicted']} {row['probability']:.2f}" for row in rows]
        sheet = charts.contact_sheet(examples.inputs["image"][worst], titles)
        artifacts["errors.png"] = ledger.artifacts.put_bytes(sheet)
    inform(
        ledger,
        ERRORS_TASK,
        requirement="an expert can look at what goes most wrong",
        risk="wrong labels and blind spots stay unseen",
        artifacts=artifacts,
        value=f"{len(wrong)} of {len(examples)} rows wrong",
    )


def record_latency(ledger: LedgerWriter, probe: Probe | Settled) -> None:
    """Record the request times on the real server."""
    if isinstance(probe, Settled) or not probe.milliseconds:
        return
    times = np.asarray(probe.milliseconds)
    table = {
        "p50": quantile(times, 0.50, CONFIDENCE).value,
        "p99": quantile(times, 0.99, CONFIDENCE).value,
        "values_ms": [round(value, 3) for value in probe.milliseconds],
    }
    inform(
        ledger,
        "request latency",
        requirement="it is known how long a request takes on the real runtime",
        risk="a model that is right too late",
        artifacts={"latency.json": ledger.artifacts.put_json(table)},
        value={
            "requests": len(times),
            "failed": probe.failed,
            "refused": len(probe.refused),
            "without_features": probe.unserved,
        },
    )


def record_served_parity(
    ledger: LedgerWriter, spec: BundleSpec, outputs: NDArray[np.float32], probe: Probe | Settled, *, rows: int
) -> None:
    """Judge whether the server gives the answers that were evaluated.

    With stored features it only informs: the server looks up today's values, the evaluation those of the event.
    """
    stored = spec.feature_service is not None
    pairs = [] if isinstance(probe, Settled) else list(enumerate(probe.answers[:rows]))
    got = [(row, answer) for row, answer in pairs if answer is not None]
    off = max((float(np.abs(answer - outputs[row]).max()) for row, answer in got), default=np.inf)
    complete = bool(got) and len(got) == len(pairs)
    verdict = Verdict.UNKNOWN
    if complete and not stored:
        verdict = Verdict.PASS if off <= spec.golden_tolerance else Verdict.FAIL
    ledger.record(
        "served parity",
        requirement="the server gives the answers that were evaluated",
        risk="training and serving prepare their input differently",
        qa_method="the same sealed rows as files and fields through the running server, largest difference",
        verdict=verdict,
        value={
            "rows": len(got),
            "asked": len(pairs),
            "within_tolerance": bool(off <= spec.golden_tolerance),
            "stored_features": stored,
        },
        counts=not stored,
    )


def record_explanation(
    ledger: LedgerWriter,
    wanted: Explanation,
    spec: BundleSpec,
    run: Run,
    examples: Examples,
    *,
    network: Network | Settled,
) -> None:
    """Record the promised explanation, how long one takes, and whether random weights would explain the same."""
    needs = {"occlusion": "image", "permutation": "features"}.get(wanted.method)
    if needs is not None and needs not in examples.inputs:
        _explained(ledger, wanted, Verdict.UNKNOWN, f"the model reads no {needs}", {})
        return
    if wanted.method == "integrated-gradients" and isinstance(network, Settled):
        _explained(ledger, wanted, Verdict.UNKNOWN, network.reason, {})
        return
    explained = _explain(wanted, spec, run, examples, network)
    likeness = float(np.mean([rank_correlation(a, b) for a, b in zip(explained.own, explained.random, strict=True)]))
    in_time = explained.seconds <= wanted.budget
    verdict = Verdict.PASS if in_time and _depends_on_weights(explained.own, likeness) else Verdict.FAIL
    text = f"{'within' if in_time else 'over'} the budget; likeness to random weights {likeness:.2f}"
    _explained(ledger, wanted, verdict, text, {"explanation.png": ledger.artifacts.put_bytes(explained.sheet)})


@dataclass(frozen=True)
class _Explained:
    """Explanations of the model and of random weights, the seconds that one took, and a picture of the first."""

    own: Sequence[NDArray[np.float64]]
    random: Sequence[NDArray[np.float64]]
    seconds: float
    sheet: bytes


def _explain(
    wanted: Explanation, spec: BundleSpec, run: Run, examples: Examples, network: Network | Settled
) -> _Explained:
    if wanted.method == "permutation":
        started = time.perf_counter()
        one = permutation_importance(run, examples.inputs, examples.labels)
        seconds = time.perf_counter() - started
        other = permutation_importance(randomised(spec), examples.inputs, examples.labels)
        return _Explained(
            [one],
            [other],
            seconds,
            _column_bars(spec, one, f"{objective_of(examples.labels).score_name} lost when shuffled"),
        )
    chosen = examples.take(range(min(EXPLAINED, len(examples))))
    singles = [chosen.take([row]).inputs for row in range(len(chosen))]
    started = time.perf_counter()
    if wanted.method == "occlusion":
        own = [occlusion_map(run, each) for each in singles]
        seconds, blank = (time.perf_counter() - started) / len(chosen), randomised(spec)
        others = [occlusion_map(blank, each) for each in singles]
        return _Explained(own, others, seconds, _heat_sheet(spec, chosen, own))
    assert not isinstance(network, Settled)
    name, drawn = network.reads[0], random_network(spec)
    own = [integrated_gradients(network, each, name=name)[0] for each in singles]
    seconds = (time.perf_counter() - started) / len(chosen)
    others = [integrated_gradients(drawn, each, name=name)[0] for each in singles]
    if name == "image":
        return _Explained(own, others, seconds, _heat_sheet(spec, chosen, own))
    mean = np.abs(np.stack(own)).mean(axis=0)
    return _Explained(own, others, seconds, _column_bars(spec, mean, "mean part in the answer, absolute"))


def _heat_sheet(spec: BundleSpec, chosen: Examples, maps: Sequence[NDArray[np.float64]]) -> bytes:
    titles = [spec.classes[label] for label in chosen.labels]
    return charts.contact_sheet(chosen.inputs["image"], titles, np.stack(maps))


def _column_bars(spec: BundleSpec, values: NDArray[np.float64], label: str) -> bytes:
    names = [column.name for column in spec.columns]
    return charts.bars(dict(zip(names, values.tolist(), strict=True)), label)


def _depends_on_weights(explanations: Sequence[NDArray[np.float64]], likeness: float) -> bool:
    """Tell whether the explanation is the model's; of a single number no rank can be compared."""
    return likeness < SAME or explanations[0].size < ENOUGH_VARIETY


def _explained(
    ledger: LedgerWriter, wanted: Explanation, verdict: Verdict, value: str, artifacts: dict[str, str]
) -> None:
    ledger.record(
        "explanation",
        requirement=f"one {wanted.method} explanation takes at most {wanted.budget:g} s and depends on the model",
        risk="people are given a picture that would be the same for any model",
        qa_method=f"mean time; rank correlation below {SAME:g} with the explanations of a network of the same "
        "architecture with random weights (Adebayo et al. 2018)",
        verdict=verdict,
        value=value,
        artifacts=artifacts,
    )


def inform(
    ledger: LedgerWriter, task: str, *, requirement: str, risk: str, artifacts: Mapping[str, str], value: Any = None
) -> None:
    """Record what was computed from the sealed rows and judges nothing."""
    ledger.record(
        task,
        requirement=requirement,
        risk=risk,
        qa_method="computed from the sealed rows; it informs and does not judge",
        verdict=Verdict.PASS,
        value=value,
        artifacts=artifacts,
        counts=False,
    )
