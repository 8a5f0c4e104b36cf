"""The search over candidates, learning rate and weight decay, and the choice among what it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sextant_components.modelling.checkpoints import Epoch
from sextant_components.modelling.fitting import fit_candidate
from sextant_components.modelling.objectives import objective_of
from sextant_components.modelling.studies import (
    SEARCH_SEED,
    Place,
    finished_trials,
    first_trial,
    importances,
    open_study,
    quiet_optuna,
    suggest,
    unvaried,
)
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.training import PLAIN, Fitted, Settings, Shape
from sextant_plan.schema import Candidate, Closed, Model
from sextant_plan.verdicts import Estimate
from sextant_serving.architectures import GRADIENT_BOOSTING, gradient_boosting

if TYPE_CHECKING:
    import optuna

SUMMARY = "summary"  # what a trial is in the study, for the other processes


class Trial(Closed):
    """One trial of the search; a pruned one has the figures of the epoch it was stopped after.

    `params` are the architecture's own; the weight decay of trees, which have none, is 0. An epoch of trees is a round.
    """

    number: int
    candidate: str
    learning_rate: float
    weight_decay: float
    params: dict[str, int | float | str | bool] = {}
    state: Literal["complete", "pruned"]
    epochs: int
    valid_score: float
    valid_loss: float


@dataclass
class Found:
    """What a search found: every trial, and of each candidate its best fitted network.

    `importances` has each candidate's parameters by their share of the score's variance, if there were trials enough;
    `unvaried` names the parameters of which one value was tried.
    """

    trials: list[Trial] = field(default_factory=list)
    best: dict[str, Fitted] = field(default_factory=dict)
    importances: dict[str, dict[str, float]] = field(default_factory=dict)
    unvaried: list[str] = field(default_factory=list)


OnTrial = Callable[[Trial, list[Epoch]], None]


def candidate_names(candidates: list[Candidate]) -> dict[str, Candidate]:
    """Return the candidates by architecture, numbered where one architecture stands more than once."""
    architectures = [candidate.architecture for candidate in candidates]
    return {
        candidate.architecture
        if architectures.count(candidate.architecture) == 1
        else f"{candidate.architecture}-{number}": candidate
        for number, candidate in enumerate(candidates, 1)
    }


def search(
    model: Model,
    shape: Shape,
    train: Examples,
    valid: Examples,
    *,
    on_trial: OnTrial = lambda _trial, _history: None,
    checkpoints: Path | None = None,
    place: Place | None = None,
) -> Found:
    """Try `model.search.trials` settings; the first trials are one of each candidate, so that none is left out.

    Seeded: the same rows give the same trials, so that a search that was broken off finds its fits among the
    `checkpoints` when it is run again. With a `place` the trials are shared with other processes: those that any of
    them has finished are counted and returned, and the best fits of others are taken from the checkpoints, or made
    again where there is none.
    """
    candidates = candidate_names(model.candidates)
    with quiet_optuna():
        study = open_study(model, candidates, place)
        objective = _Objective(model, candidates, shape, train, valid, on_trial, checkpoints)
        _spend(study, objective, model.search.trials)
        for name in candidates:  # a process that was killed has taken a candidate's first trial with it
            if place is not None and not any(trial.params["candidate"] == name for trial in finished_trials(study)):
                study.enqueue_trial(first_trial(model, name, candidates[name]))
                study.optimize(objective, n_trials=1)
        objective.found.importances = importances(study, candidates)
        objective.found.unvaried = unvaried(study)
        return objective.found if place is None else _of_all(study, objective)


def help_search(
    model: Model, shape: Shape, train: Examples, valid: Examples, *, checkpoints: Path, place: Place
) -> None:
    """Make trials of a search that another process leads, until the study has as many as the plan wants."""
    candidates = candidate_names(model.candidates)
    with quiet_optuna():
        study = open_study(model, candidates, place)
        objective = _Objective(model, candidates, shape, train, valid, lambda _trial, _history: None, checkpoints)
        _spend(study, objective, model.search.trials)


def _spend(study: optuna.Study, objective: _Objective, trials: int) -> None:
    """Try until so many trials are finished, whoever has made them."""
    while len(finished_trials(study)) < trials:
        study.optimize(objective, n_trials=1)


def _of_all(study: optuna.Study, objective: _Objective) -> Found:
    """Return what all processes found together."""
    found = objective.found
    found.trials = [Trial.model_validate_json(trial.user_attrs[SUMMARY]) for trial in finished_trials(study)]
    for name in objective.candidates:
        complete = [trial for trial in found.trials if trial.candidate == name and trial.state == "complete"]
        if not complete:
            continue
        best = max(complete, key=lambda trial: (trial.valid_score, -trial.valid_loss))
        own = found.best.get(name)
        if own is None or objective.of_trial(best) != own.settings:
            found.best[name] = fit_candidate(
                objective.of_trial(best),
                objective.shape,
                objective.train,
                objective.valid,
                checkpoints=objective.checkpoints,
            )
    return found


@dataclass
class _Objective:
    """What one trial does; collects the trials in `found`."""

    model: Model
    candidates: dict[str, Candidate]
    shape: Shape
    train: Examples
    valid: Examples
    on_trial: OnTrial
    checkpoints: Path | None
    found: Found = field(default_factory=Found)

    def __call__(self, trial: optuna.Trial) -> float:
        import optuna

        name = trial.suggest_categorical("candidate", list(self.candidates))
        settings = self._settings(trial, name)
        history: list[Epoch] = []

        def on_epoch(number: int, epoch: Epoch) -> None:
            history.append(epoch)
            trial.report(epoch.valid_score, number)
            if number + 1 < settings.epochs and trial.should_prune():
                raise optuna.TrialPruned

        try:
            fitted = fit_candidate(
                settings, self.shape, self.train, self.valid, on_epoch=on_epoch, checkpoints=self.checkpoints
            )
        except optuna.TrialPruned:
            self._note(trial, name, settings, history, None)
            raise
        self._note(trial, name, settings, fitted.history, fitted)
        best = self.found.best.get(name)
        if best is None or rank(fitted) > rank(best):
            self.found.best[name] = fitted
        return fitted.score

    def _settings(self, trial: optuna.Trial, name: str) -> Settings:
        candidate, model = self.candidates[name], self.model
        params, trees = dict(candidate.params), candidate.architecture == GRADIENT_BOOSTING
        for key, span in model.search.vary.get(candidate.architecture, {}).items():
            params[key] = suggest(trial, f"{name}.{key}", span)
        if trees and "leaves" not in params:
            params["leaves"] = trial.suggest_int(f"{name}.leaves", *gradient_boosting.LEAVES, log=True)
        if trees:
            rate = trial.suggest_float(f"{name}.learning_rate", *gradient_boosting.LEARNING_RATE, log=True)
            return self._complete(candidate.architecture, params, rate, 0.0)
        rate = trial.suggest_float("learning_rate", *model.search.learning_rate, log=True)
        decay = trial.suggest_float("weight_decay", *model.search.weight_decay, log=True)
        return self._complete(candidate.architecture, params, rate, decay)

    def of_trial(self, trial: Trial) -> Settings:
        """Return the settings of a trial, whichever process has made it."""
        architecture = self.candidates[trial.candidate].architecture
        return self._complete(architecture, trial.params, trial.learning_rate, trial.weight_decay)

    def _complete(
        self, architecture: str, params: Mapping[str, int | float | str | bool], rate: float, decay: float
    ) -> Settings:
        model = self.model
        training = PLAIN if architecture == GRADIENT_BOOSTING else model.training
        return Settings(
            architecture, params, rate, decay, model.epochs, model.batch_size, seed=SEARCH_SEED, training=training
        )

    def _note(
        self, trial: optuna.Trial, name: str, settings: Settings, history: list[Epoch], fitted: Fitted | None
    ) -> None:
        summary = Trial(
            number=trial.number,
            candidate=name,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            params=dict(settings.params),
            state="complete" if fitted else "pruned",
            epochs=len(history),
            valid_score=fitted.score if fitted else history[-1].valid_score,
            valid_loss=fitted.loss if fitted else history[-1].valid_loss,
        )
        trial.set_user_attr(SUMMARY, summary.model_dump_json())
        self.found.trials.append(summary)
        self.on_trial(summary, history)


def rank(fitted: Fitted) -> tuple[float, float]:
    """Return what fits are compared by: the score on the validation rows, then the lower loss."""
    return fitted.score, -fitted.loss


def size(fitted: Fitted) -> int:
    """Return how many numbers the network or the trees learned; what makes one candidate simpler than another."""
    if isinstance(fitted.network, gradient_boosting.Trees):
        return fitted.network.learned_numbers
    return sum(parameter.numel() for parameter in fitted.network.parameters())


def choose(found: Found, valid: Examples, confidence: float) -> tuple[str, dict[str, Estimate]]:
    """Return the simplest candidate that is not proved worse than the best one, and the gains.

    The gains are those of the best candidate over each simpler one. A larger network has to earn its size, as
    in the one-standard-error rule (Breiman et al. 1984, section 3.4.3).
    """
    best = max(found.best, key=lambda name: rank(found.best[name]))
    simpler = sorted(
        (name for name in found.best if size(found.best[name]) < size(found.best[best])),
        key=lambda n: size(found.best[n]),
    )
    objective = objective_of(valid.labels)
    merits = {name: objective.merit(fitted.outputs, valid.labels) for name, fitted in found.best.items()}
    gains = {name: objective.gain(merits[best], merits[name], confidence, valid.groups) for name in simpler}
    chosen = next((name for name in simpler if gains[name].low <= 0), best)
    return chosen, gains
