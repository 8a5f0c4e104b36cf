"""The search over candidates, learning rate and weight decay, and the choice among what it found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sextant_components.checkpoints import Epoch
from sextant_components.fitting import fit_candidate
from sextant_components.objectives import objective_of
from sextant_components.tensors import Examples
from sextant_components.training import Fitted, Settings, Shape
from sextant_plan.schema import Candidate, Closed, Model
from sextant_plan.verdicts import Estimate
from sextant_serving.architectures import GRADIENT_BOOSTING, gradient_boosting

if TYPE_CHECKING:
    import optuna

SEARCH_SEED = 0


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
    """What a search found: every trial, and of each candidate its best fitted network."""

    trials: list[Trial] = field(default_factory=list)
    best: dict[str, Fitted] = field(default_factory=dict)


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
) -> Found:
    """Try `model.search.trials` settings; the first trials are one of each candidate, so that none is left out.

    Later ones are proposed by a tree-structured Parzen estimator (Bergstra et al. 2011) and stopped when they
    fall below the median of the earlier ones. Seeded: the same rows give the same trials, so that a search that was
    broken off finds its fits among the `checkpoints` when it is run again.
    """
    import optuna

    candidates = candidate_names(model.candidates)
    objective = _Objective(model, candidates, shape, train, valid, on_trial, checkpoints)
    with _quiet_optuna():
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=SEARCH_SEED, n_startup_trials=len(candidates)),
            pruner=optuna.pruners.MedianPruner(
                n_startup_trials=len(candidates), n_warmup_steps=max(1, model.epochs // 3)
            ),
        )
        middle: dict[str, float] = {
            "learning_rate": math.sqrt(math.prod(model.search.learning_rate)),
            "weight_decay": math.sqrt(math.prod(model.search.weight_decay)),
        }
        for name in candidates:
            middle |= {f"{name}.{key}": value for key, value in gradient_boosting.MIDDLE.items()}
            study.enqueue_trial({"candidate": name, **middle})
        study.optimize(objective, n_trials=model.search.trials)
    return objective.found


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
            self._note(trial.number, name, settings, history, None)
            raise
        self._note(trial.number, name, settings, fitted.history, fitted)
        best = self.found.best.get(name)
        if best is None or rank(fitted) > rank(best):
            self.found.best[name] = fitted
        return fitted.score

    def _settings(self, trial: optuna.Trial, name: str) -> Settings:
        candidate = self.candidates[name]
        if candidate.architecture == GRADIENT_BOOSTING:
            return self._tree_settings(trial, name)
        return Settings(
            architecture=candidate.architecture,
            params=candidate.params,
            learning_rate=trial.suggest_float("learning_rate", *self.model.search.learning_rate, log=True),
            weight_decay=trial.suggest_float("weight_decay", *self.model.search.weight_decay, log=True),
            epochs=self.model.epochs,
            batch_size=self.model.batch_size,
            seed=SEARCH_SEED,
            training=self.model.training,
        )

    def _tree_settings(self, trial: optuna.Trial, name: str) -> Settings:
        params = dict(self.candidates[name].params)
        if "leaves" not in params:
            params["leaves"] = trial.suggest_int(f"{name}.leaves", *gradient_boosting.LEAVES, log=True)
        rate = trial.suggest_float(f"{name}.learning_rate", *gradient_boosting.LEARNING_RATE, log=True)
        return Settings(GRADIENT_BOOSTING, params, rate, 0.0, self.model.epochs, self.model.batch_size, SEARCH_SEED)

    def _note(self, number: int, name: str, settings: Settings, history: list[Epoch], fitted: Fitted | None) -> None:
        summary = Trial(
            number=number,
            candidate=name,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            params=dict(settings.params),
            state="complete" if fitted else "pruned",
            epochs=len(history),
            valid_score=fitted.score if fitted else history[-1].valid_score,
            valid_loss=fitted.loss if fitted else history[-1].valid_loss,
        )
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
    gains = {name: objective.gain(merits[best], merits[name], confidence) for name in simpler}
    chosen = next((name for name in simpler if gains[name].low <= 0), best)
    return chosen, gains


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
