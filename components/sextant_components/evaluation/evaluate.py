"""Evaluate: open the sealed rows within the look budget and measure the bundle exactly as it will be served."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.data.tables import SplitsInfo, read_split, read_splits_info, slice_columns, slice_values
from sextant_components.evaluation.champion import Incomparable, champion_labels
from sextant_components.evaluation.corruptions import JUDGED
from sextant_components.evaluation.criteria import Evidence, answer, beats_baseline, groups_behind, without_champion
from sextant_components.evaluation.evaluation_records import (
    CONFIDENCE,
    record_baseline,
    record_champion,
    record_confusion,
    record_errors,
    record_explanation,
    record_groups,
    record_latency,
    record_look,
    record_reliability,
    record_served_parity,
    record_slices,
    record_subject,
)
from sextant_components.evaluation.evaluation_studies import (
    AttackResult,
    attack_rows,
    record_attack,
    record_cold_start,
    record_corruptions,
    record_found_slices,
    record_strangers,
    record_wrong_requests,
    searched_columns,
)
from sextant_components.evaluation.looks import take_look
from sextant_components.evaluation.number_records import record_residuals
from sextant_components.evaluation.robustness import Right, corrupted_right, stranger_areas, strangers
from sextant_components.evaluation.server_probe import Probe, probe_server, requests_of
from sextant_components.evaluation.staleness import record_staleness
from sextant_components.evidence.gates import Settled, record_criterion, unavailable
from sextant_components.evidence.metrics import Answers
from sextant_components.evidence.number_metrics import NumberAnswers
from sextant_components.modelling.baseline import FittedBaseline, answer_baseline
from sextant_components.modelling.ensembling import together
from sextant_components.modelling.model_file import load_members, read_model
from sextant_components.modelling.objectives import Merit, Objective, objective_of
from sextant_components.modelling.tensors import Examples, Inputs, load_examples, run_in_batches
from sextant_components.runs.context import RunContext, Step
from sextant_plan.bundle import BundleSpec, read_bundle
from sextant_plan.ledger import LedgerWriter
from sextant_plan.promotion import Promotion
from sextant_plan.verdicts import Estimate, Verdict

if TYPE_CHECKING:
    import polars as pl

    from sextant_serving.architectures import Network
    from sextant_serving.engines import Engine

PROBE_ROWS = 100  # different sealed rows that the server is asked for, in turn


@dataclass(frozen=True)
class Subject:
    """The bundle under test with the rows it is tested on."""

    context: RunContext
    snapshot: Path
    splits: Path
    info: SplitsInfo
    bundle: Path
    spec: BundleSpec
    engine: Engine
    sealed: pl.DataFrame
    examples: Examples
    outputs: NDArray[np.float32]
    answers: Answers | NumberAnswers
    network: Network | Settled

    @property
    def objective(self) -> Objective:
        """How answers are compared with labels."""
        return objective_of(self.examples.labels)

    @cached_property
    def baseline(self) -> tuple[FittedBaseline, Merit]:
        """The goal's baseline with the merit of its answers to the same rows."""
        baseline, said = answer_baseline(self.context.plan, self.snapshot, self.splits, self.examples.row_ids)
        return baseline, _merit(said, self)

    def run(self, inputs: Inputs) -> NDArray[np.float32]:
        """Return the served engine's answers, shape (rows, classes or 1)."""
        return run_in_batches(self.engine, inputs, self.spec.serving.max_rows)


@dataclass(frozen=True)
class Findings:
    """What the studies of worse inputs found: right rows by corruption and severity, and under attack."""

    corrupted: dict[tuple[str, int], Right]
    attack: AttackResult


def run_evaluate(
    context: RunContext, *, snapshot: Path, splits: Path, bundle: Path, model: Path | None = None
) -> Verdict:
    """Judge every criterion of this step on the sealed rows; raises LooksSpent before opening them once too often.

    `model` is the trained network that the bundle was made of; without it, what needs gradients is unknown.
    """
    from sextant_serving.registry import open_registry

    spec, info = read_bundle(bundle), read_splits_info(splits)
    champion = open_registry(context.home).champion(context.plan.name)
    look = take_look(
        context.home,
        plan=context.plan.name,
        sealed_digest=info.sealed_digest,
        budget=context.plan.evaluation.looks,
        version=spec.version,
    )
    subject = _open(context, snapshot=snapshot, splits=splits, info=info, bundle=bundle, spec=spec, model=model)
    with context.ledger(Step.EVALUATE) as ledger:
        record_look(ledger, look)
        record_subject(ledger, spec)
        record_champion(ledger, champion)
        record_groups(ledger, subject.examples.groups, len(subject.examples))
        findings = Findings(
            _corrupted(subject),
            attack_rows(subject.run, subject.network, subject.examples, context.plan.evaluation.attack),
        )
        evidence = _gather(subject, champion, findings)
        for criterion in context.plan.criteria:
            if criterion.definition.step == Step.EVALUATE:
                record_criterion(
                    ledger, criterion, answer(criterion, evidence), groups=groups_behind(criterion, evidence)
                )
        if not any(map(beats_baseline, context.plan.criteria)):
            _record_gain(ledger, subject)
        if isinstance(subject.answers, Answers):
            _record_classes(ledger, subject, subject.answers, evidence)
            _record_studies(ledger, subject, subject.answers, findings, evidence)
        else:
            record_residuals(ledger, subject.answers, subject.examples, evidence.slices)
        record_latency(ledger, evidence.probe)
        if context.plan.evaluation.staleness is not None:
            record_staleness(
                ledger, context, context.plan.evaluation.staleness, snapshot=snapshot, splits=splits, model=model
            )
        record_wrong_requests(ledger, evidence.probe)
        record_cold_start(ledger, evidence.probe)
        record_served_parity(ledger, spec, subject.outputs, evidence.probe, rows=min(PROBE_ROWS, len(subject.examples)))
        if context.plan.evaluation.explanation is not None:
            record_explanation(
                ledger,
                context.plan.evaluation.explanation,
                spec,
                subject.engine.run,
                subject.examples,
                network=subject.network,
            )
        return ledger.verdict


def _record_gain(ledger: LedgerWriter, subject: Subject) -> None:
    baseline, theirs = subject.baseline
    own = subject.objective.merit(subject.outputs, subject.examples.labels)
    gain = subject.objective.gain(own, theirs, CONFIDENCE, subject.answers.groups)
    record_baseline(ledger, subject.objective, gain, baseline.describe())


def _record_classes(ledger: LedgerWriter, subject: Subject, answers: Answers, evidence: Evidence) -> None:
    record_confusion(ledger, answers, subject.spec.classes)
    record_reliability(ledger, answers)
    record_slices(ledger, answers, evidence.slices)
    record_errors(ledger, answers, subject.examples, subject.spec.classes)


def _record_studies(
    ledger: LedgerWriter, subject: Subject, answers: Answers, findings: Findings, evidence: Evidence
) -> None:
    plan = subject.context.plan
    record_corruptions(ledger, findings.corrupted, answers.groups)
    record_attack(ledger, plan.evaluation.attack, findings.attack)
    record_strangers(ledger, evidence.strangers(CONFIDENCE), plan.serving.fallback.abstain_below)
    columns = searched_columns(plan, subject.snapshot, subject.sealed, subject.examples.inputs)
    record_found_slices(ledger, answers.right, columns, answers.groups)


def _open(
    context: RunContext,
    *,
    snapshot: Path,
    splits: Path,
    info: SplitsInfo,
    bundle: Path,
    spec: BundleSpec,
    model: Path | None,
) -> Subject:
    """Load the bundle through the server's own engines; raises BundleCorrupt if a golden request differs."""
    from sextant_serving.engines import check_golden, load_engine

    engine = load_engine(bundle, spec)
    check_golden(engine, bundle, spec)
    sealed = read_split(splits, "sealed")
    examples = load_examples(snapshot, sealed, image=spec.image, columns=spec.columns)
    outputs = run_in_batches(engine, examples.inputs, spec.serving.max_rows)
    numbers = NumberAnswers(outputs[:, 0].astype(np.float64), examples.labels, examples.groups)
    answers = Answers(outputs, examples.labels, examples.groups) if spec.classes else numbers
    network = _network(model, len(spec.members))
    return Subject(context, snapshot, splits, info, bundle, spec, engine, sealed, examples, outputs, answers, network)


def _network(model: Path | None, members: int) -> Network | Settled:
    """Return so many trained networks as one, or why there is none to take gradients from."""
    if model is None:
        return unavailable("the trained network was not handed over")
    from torch import nn

    networks = [learned for learned in load_members(model, read_model(model)) if isinstance(learned, nn.Module)]
    return together(networks[:members]) if networks else unavailable("trees have no gradients")


def _gather(subject: Subject, champion: Promotion | None, findings: Findings) -> Evidence:
    plan = subject.context.plan
    wanted = {criterion.relative_to for criterion in plan.criteria}
    others: dict[str, Merit | Settled] = {}
    if "baseline" in wanted:
        _, others["baseline"] = subject.baseline
    if "champion" in wanted:
        others["champion"] = _champion_merit(subject, champion)
    return Evidence(
        plan=plan,
        classes=subject.spec.classes,
        answers=subject.answers,
        slices={column: slice_values(subject.sealed, column) for column in slice_columns(plan)},
        others=others,
        corrupted={kind: right for (kind, severity), right in findings.corrupted.items() if severity == JUDGED},
        probe=_probe(subject),
        attacked=findings.attack.right,
        attacked_groups=findings.attack.groups,
        strangers=_strangers(subject),
    )


def _champion_merit(subject: Subject, champion: Promotion | None) -> Merit | Settled:
    if champion is None:
        return without_champion()
    try:
        said = champion_labels(champion, subject.snapshot, subject.splits, subject.sealed)
    except Incomparable as reason:
        return unavailable(str(reason))
    return _merit(said, subject)


def _merit(said: list[Any], subject: Subject) -> Merit:
    return subject.objective.merit_of(said, subject.sealed["label"].to_list())


def _strangers(subject: Subject) -> Callable[[float], Mapping[str, Estimate]]:
    """Return the areas by kind of stranger; a number has no probability by which a stranger could be told."""
    if not isinstance(subject.answers, Answers):
        return lambda _confidence: {}
    known, made = subject.answers.confidence, _stranger_confidence(subject)
    return partial(stranger_areas, known, made, groups=subject.answers.groups)


def _stranger_confidence(subject: Subject) -> dict[str, NDArray[np.float64]]:
    made = strangers(subject.examples.inputs)
    return {kind: subject.run(inputs).max(axis=1).astype(np.float64) for kind, inputs in made.items()}


def _corrupted(subject: Subject) -> dict[tuple[str, int], Right]:
    if subject.spec.image is None:
        return {}
    return corrupted_right(subject.run, subject.examples, subject.context.plan.evaluation.corruptions)


def _probe(subject: Subject) -> Probe | Settled:
    """Ask a real server; one that does not start leaves its criteria unknown and the others judged."""
    from sextant_serving.launch import ServerDidNotStart

    repo = subject.info.feature_repo
    try:
        return probe_server(
            subject.bundle,
            subject.spec,
            requests_of(subject.snapshot, subject.examples.row_ids[:PROBE_ROWS], subject.spec),
            count=subject.context.plan.evaluation.latency_requests,
            feature_repo=Path(repo) if repo is not None else None,
        )
    except ServerDidNotStart as error:
        return unavailable(f"the server did not start (exit code {error.returned})")
