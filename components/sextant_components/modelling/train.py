"""Train: search over the candidates, fit the chosen one k times, and prove that it learned anything."""

from __future__ import annotations

import shutil
from pathlib import Path

from sextant_components.data.tables import read_classes, read_columns, read_split, slices_of
from sextant_components.evidence.charts import learning_curves
from sextant_components.evidence.gates import better
from sextant_components.modelling.augmentation_check import record_augmentation
from sextant_components.modelling.baseline import answer_baseline
from sextant_components.modelling.checkpoints import Epoch
from sextant_components.modelling.ensembling import keep_members
from sextant_components.modelling.epochs import Effort
from sextant_components.modelling.fitting import fit_candidate
from sextant_components.modelling.model_file import SeedResult, write_model
from sextant_components.modelling.objectives import Objective, objective_of
from sextant_components.modelling.sanity import LEARNED, heart_rows, loss_fell, overfit_one_batch
from sextant_components.modelling.search_team import shared_search
from sextant_components.modelling.smaller_models import Workshop, smaller
from sextant_components.modelling.studies import FEWEST_FOR_IMPORTANCE
from sextant_components.modelling.teams import current_team
from sextant_components.modelling.tensors import Examples, load_examples
from sextant_components.modelling.tracking import StepRun, step_run
from sextant_components.modelling.training import Fitted, Settings, Shape
from sextant_components.modelling.tuning import Found, Trial, candidate_names, choose, rank, search
from sextant_components.runs.context import RunContext, Step
from sextant_plan.bounds import mean
from sextant_plan.ledger import LedgerWriter, finite_or_none
from sextant_plan.verdicts import Estimate, Verdict
from sextant_serving.architectures import GRADIENT_BOOSTING

CONFIDENCE = 0.95
WAIT_TOLERATED = 0.1  # share of a fit's time for which a GPU may stand idle
CHECKPOINTS = "checkpoints"  # in the run's folder, so that another attempt of the step finds them


def run_train(context: RunContext, *, snapshot: Path, splits: Path, model: Path) -> Verdict:
    """Write the best of the search to `model` and record how it was found and what it is worth."""
    checkpoints = context.run / CHECKPOINTS
    shape, train, valid = read_inputs(context, snapshot, splits)
    objective = objective_of(train.labels)
    with context.ledger(Step.TRAIN) as ledger, step_run(context, Step.TRAIN) as tracked:
        _record_wiring(ledger, context, shape, train)
        record_augmentation(ledger, train, shape.augment)
        _record_pretrained(ledger, context)
        _record_research(ledger, context)
        with shared_search(context, snapshot=snapshot, splits=splits, checkpoints=checkpoints) as place:
            found = search(
                context.model,
                shape,
                train,
                valid,
                on_trial=lambda *trial: _track(tracked, objective, *trial),
                checkpoints=checkpoints,
                place=place,
            )
        chosen, gains = choose(found, valid, CONFIDENCE)
        fits = [found.best[chosen]]
        for settings in _other_seeds(fits[0].settings, context.plan.model.seeds):
            fits.append(fit_candidate(settings, shape, train, valid, checkpoints=checkpoints))
        best = max(fits, key=rank)
        seeds = [SeedResult(seed=f.settings.seed, valid_score=f.score, valid_loss=f.loss) for f in fits]
        members = keep_members(ledger, context.plan.model.ensemble, objective, fits, best=best, valid=valid)
        if context.plan.model.compress is not None:
            slices = slices_of(context.plan, read_split(splits, "valid"))
            members = smaller(ledger, Workshop(context.plan.model, members, shape, train, valid, slices))
        write_model(model, members, shape, found.trials, seeds, spread=objective.scale)
        shutil.rmtree(checkpoints, ignore_errors=True)
        _record_search(ledger, context, found, chosen)
        _record_tuning(ledger, found)
        _record_learning(ledger, objective, {f"seed {f.settings.seed}": f.history for f in fits}, best)
        _record_effort(ledger, best.effort)
        _record_seeds(ledger, objective, seeds)
        gain = _gain_over_baseline(context, snapshot, splits, valid=valid, best=members[0], objective=objective)
        _record_baseline(ledger, objective, gain)
        _record_simpler(ledger, objective, chosen, gains)
        _record_rival(ledger, objective, found, valid)
        tracked.params({"chosen": chosen, **_settings_as_params(best.settings)})
        tracked.metrics({f"valid_{objective.score_name}": [best.score], "valid_loss": [best.loss]})
        return ledger.verdict


def read_inputs(context: RunContext, snapshot: Path, splits: Path) -> tuple[Shape, Examples, Examples]:
    """Return what every fit of the step is made from: its shape, the training rows and the validation rows."""
    model = context.plan.model
    columns, classes = read_columns(splits), read_classes(splits)
    shape = Shape(model.inputs.image, columns, classes, context.plan_dir, tuple(model.augment))
    train, valid = (
        load_examples(snapshot, read_split(splits, name), image=shape.image, columns=shape.columns)
        for name in ("train", "valid")
    )
    return shape, train, valid


def _other_seeds(first: Settings, seeds: int) -> list[Settings]:
    """Return the settings of the k fits but the first, which the search has made."""
    return [Settings(**{**vars(first), "seed": seed}) for seed in range(1, seeds)]


def _track(tracked: StepRun, objective: Objective, trial: Trial, history: list[Epoch]) -> None:
    figures = {"train_loss": "train_loss", "valid_loss": "valid_loss", f"valid_{objective.score_name}": "valid_score"}
    tracked.metrics(
        {f"trial{trial.number}.{name}": [getattr(epoch, field) for epoch in history] for name, field in figures.items()}
    )


def _settings_as_params(settings: Settings) -> dict[str, object]:
    own = {f"architecture.{name}": value for name, value in settings.params.items()}
    options = {f"training.{name}": value for name, value in settings.training.model_dump().items()}
    plain = {name: value for name, value in vars(settings).items() if name not in {"params", "training"}}
    return {**plain, **own, **options}


def _record_wiring(ledger: LedgerWriter, context: RunContext, shape: Shape, train: Examples) -> None:
    """Record, before any time is spent on the search, whether each candidate can learn one batch by heart."""
    model = context.model
    for name, candidate in candidate_names(model.candidates).items():
        settings = Settings(candidate.architecture, candidate.params, 3e-3, 0.0, 1, model.batch_size, 0)
        score = overfit_one_batch(settings, shape, train)
        ledger.record(
            f"overfit one batch: {name}",
            requirement=f"{name} learns {heart_rows(shape, train)} training rows by heart",
            risk="a fault in wiring, labels or gradients looks like a hard problem",
            qa_method=f"steps on one batch; {objective_of(train.labels).score_name} on it at least {LEARNED:g}",
            verdict=Verdict.PASS if score >= LEARNED else Verdict.FAIL,
            value=score,
        )


def _record_pretrained(ledger: LedgerWriter, context: RunContext) -> None:
    """Record where each candidate's first weights came from; the wiring check has read and verified them by now."""
    for name, candidate in candidate_names(context.model.candidates).items():
        if candidate.params.get("weights"):
            ledger.record(
                f"candidate weights: {name}",
                requirement=f"{name} starts from the weights that the plan names, and no others",
                risk="weights of unknown origin carry somebody else's data, licence or back door",
                qa_method="SHA-256 of the file against the plan's; read without unpickling anything but tensors",
                verdict=Verdict.PASS,
                value={key: candidate.params[key] for key in ("weights", "weights_sha256")},
            )


def _record_research(ledger: LedgerWriter, context: RunContext) -> None:
    """Record what the plan says of the choice of candidates, if it says anything."""
    model = context.plan.model
    named = candidate_names(model.candidates)
    silent = sorted(name for name, candidate in named.items() if not candidate.why)
    if len(silent) == len(named) and not model.passed_over:
        return
    competing = {
        name: {"why": each.why, "sources": each.sources, "weights": each.params.get("weights_sha256")}
        for name, each in named.items()
    }
    ledger.record(
        "candidates considered",
        requirement="each candidate competes for a reason that is written down, with its source",
        risk="nobody can say later why this architecture was tried and that one was not",
        qa_method="model.candidates and model.passed_over of the frozen plan; a candidate without a reason is unknown",
        verdict=Verdict.UNKNOWN if silent else Verdict.PASS,
        value={"competing": competing, "passed_over": [each.model_dump() for each in model.passed_over]},
        counts=False,
    )


def _record_search(ledger: LedgerWriter, context: RunContext, found: Found, chosen: str) -> None:
    tried = {trial.candidate for trial in found.trials}
    missing = sorted(candidate_names(context.model.candidates).keys() - tried)
    ledger.record(
        "search",
        requirement="every candidate of the plan was tried",
        risk="a better candidate is passed over because the budget ended before its turn",
        qa_method="one trial of each candidate first, then a seeded tree-structured Parzen estimator",
        verdict=Verdict.UNKNOWN if missing else Verdict.PASS,
        value={"chosen": chosen, "trials": len(found.trials), "not_tried": missing},
        artifacts={"trials.json": ledger.artifacts.put_json([trial.model_dump(mode="json") for trial in found.trials])},
    )


def _record_tuning(ledger: LedgerWriter, found: Found) -> None:
    ledger.record(
        "tuning",
        requirement="every parameter that the plan lets vary was varied, and it is known which of them matter",
        risk="a budget is spent on what changes nothing, or too small to try what would",
        qa_method="values tried of each parameter; share of the score's variance that each explains among a "
        f"candidate's trials, by fANOVA (Hutter et al. 2014), over at least {FEWEST_FOR_IMPORTANCE} complete ones",
        verdict=Verdict.UNKNOWN if found.unvaried else Verdict.PASS,
        value={"one_value_only": found.unvaried, "importance": found.importances},
        counts=False,
    )


def _record_effort(ledger: LedgerWriter, effort: Effort | None) -> None:
    """Record how much of the best fit's time the device waited for its next batch; trees have no such wait.

    Only a GPU is judged by it: a processor does the waiting and the work, and small networks cost less than pictures.
    """
    if effort is None:
        return
    idle = current_team().device.type != "cpu" and effort.wait > WAIT_TOLERATED
    ledger.record(
        "training time",
        requirement=f"a GPU waits for input at most {WAIT_TOLERATED:.0%} of the time",
        risk="a costly device stands idle while pictures are made ready",
        qa_method="time between a step's end and the next batch being ready, over the time of the best fit's steps",
        verdict=Verdict.UNKNOWN if idle else Verdict.PASS,
        value={
            "rows": effort.rows,
            "rows_a_second": round(effort.rows / effort.seconds, 1) if effort.seconds else None,
            "wait": round(effort.wait, 4),
        },
        counts=False,
    )


def _record_learning(
    ledger: LedgerWriter, objective: Objective, histories: dict[str, list[Epoch]], best: Fitted
) -> None:
    chart = learning_curves(histories, score=objective.score_name, loss=objective.loss_unit)
    ledger.record(
        "loss falls",
        requirement="the training loss of the last epoch is below nine tenths of the first's",
        risk="a network that did not learn is judged by luck",
        qa_method="mean training loss of the first and of the last epoch; a single epoch is unknown",
        verdict=loss_fell(best.history),
        value=[epoch.train_loss for epoch in best.history],
        artifacts={"learning.png": ledger.artifacts.put_bytes(chart)},
    )


def _record_seeds(ledger: LedgerWriter, objective: Objective, seeds: list[SeedResult]) -> None:
    scores, name = [seed.valid_score for seed in seeds], objective.score_name
    ledger.record(
        "seeds",
        requirement="the result does not hang on one random start",
        risk="a lucky seed is taken for a good model",
        qa_method=f"Student interval of the mean validation {name} over seeds; it informs and does not judge",
        verdict=Verdict.PASS if len(seeds) > 1 else Verdict.UNKNOWN,
        value=None if len(seeds) > 1 else f"one seed, validation {name} {scores[0]:.4f}: no interval",
        estimate=mean(scores, CONFIDENCE) if len(seeds) > 1 else None,
        counts=False,
    )


def _gain_over_baseline(
    context: RunContext, snapshot: Path, splits: Path, *, valid: Examples, best: Fitted, objective: Objective
) -> tuple[Estimate, dict[str, object]]:
    baseline, said = answer_baseline(context.plan, snapshot, splits, valid.row_ids)
    rule = objective.merit_of(said, read_split(splits, "valid")["label"].to_list())
    own = objective.merit(best.outputs, valid.labels)
    return objective.gain(own, rule, CONFIDENCE, valid.groups), baseline.describe()


def _record_baseline(ledger: LedgerWriter, objective: Objective, gain: tuple[Estimate, dict[str, object]]) -> None:
    """Record whether to go on: a model that does not even beat the rule here is not worth a look at the sealed rows."""
    estimate, description = gain
    verdict = better(estimate)
    ledger.record(
        "beats baseline on validation rows",
        requirement=f"on the rows that chose the model, it is {objective.better} than the baseline of the goal",
        risk="the sealed rows are opened for a model that cannot beat a rule even where it looks its best",
        qa_method=f"difference on the same validation rows, {objective.bound}, one-sided at {CONFIDENCE:g}; epoch, "
        "trial and seed are the best on them, so that a pass claims nothing and does not count: evaluate judges",
        verdict=verdict,
        estimate=estimate,
        artifacts={"baseline.json": ledger.artifacts.put_json(description)},
        counts=verdict is not Verdict.PASS,
    )


def _record_simpler(ledger: LedgerWriter, objective: Objective, chosen: str, gains: dict[str, Estimate]) -> None:
    """Record the choice; it passes by construction, because the simplest candidate not proved worse was taken."""
    ledger.record(
        "beats simpler candidates",
        requirement="no simpler candidate is as good as the chosen one",
        risk="a larger network is served, slower and harder to explain, for nothing",
        qa_method=f"the simplest candidate than which the best one is not proved {objective.better} is chosen "
        f"({objective.bound} on validation rows, one-sided at {CONFIDENCE:g})",
        verdict=Verdict.PASS,
        value={
            "chosen": chosen,
            "gain_of_best_over": {
                name: [*map(finite_or_none, (gain.value, gain.low, gain.high))] for name, gain in gains.items()
            },
        },
    )


def _record_rival(ledger: LedgerWriter, objective: Objective, found: Found, valid: Examples) -> None:
    """Record the best network against gradient boosting, if the plan lists both; the choice has heeded it already."""
    trees = [name for name, fitted in found.best.items() if fitted.settings.architecture == GRADIENT_BOOSTING]
    networks = [name for name in found.best if name not in trees]
    if not trees or not networks:
        return
    network, rival = (max(names, key=lambda name: rank(found.best[name])) for names in (networks, trees))
    own, other = (objective.merit(found.best[name].outputs, valid.labels) for name in (network, rival))
    gain = objective.gain(own, other, CONFIDENCE, valid.groups)
    ledger.record(
        f"beats gradient boosting: {network}",
        requirement=f"{network}, the best network, is {objective.better} than gradient boosting",
        risk="a network is trained, explained and served where trees would do",
        qa_method=f"difference on the same validation rows, {objective.bound}, one-sided at {CONFIDENCE:g}; "
        "it informs, because the choice goes by all candidates",
        verdict=better(gain),
        estimate=gain,
        counts=False,
    )
