"""The study that a search's trials are kept in: in memory, or in a storage that several processes or pods share."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sextant_plan.schema import Candidate, Model, Span
from sextant_serving.architectures import GRADIENT_BOOSTING, gradient_boosting

if TYPE_CHECKING:
    import optuna

STORAGE = "SEXTANT_STUDY_STORAGE"  # a database's URL, or the path of a journal on a volume that all pods mount
SEARCH_SEED = 0
HEARTBEAT_SECONDS, SILENCE_SECONDS = 60, 300  # a node that swaps may be late by minutes; a fit is not lost by waiting
RETRIES = 2  # of one trial; what kills its process each time is not the process's bad luck
FEWEST_FOR_IMPORTANCE = 8  # complete trials; over fewer a forest of random trees ranks noise


@dataclass(frozen=True)
class Place:
    """A study that is shared: where it lies, its name, and which of the processes this one is, from 0."""

    storage: str
    name: str
    number: int = 0


def shared_storage() -> str | None:
    """Return the storage that this process's environment names."""
    return os.environ.get(STORAGE) or None


def open_study(model: Model, candidates: Mapping[str, Candidate], place: Place | None) -> optuna.Study:
    """Open the search's study, or join the one that another process has opened.

    The first trials are one of each candidate. Later ones are proposed by a tree-structured Parzen estimator
    (Bergstra et al. 2011) and stopped when they fall below the median of the earlier ones. Where processes share the
    study, each takes running trials for bad ones, so that two do not try the same.
    """
    import optuna

    seed = SEARCH_SEED if place is None else SEARCH_SEED + place.number
    first = len(candidates)
    study = optuna.create_study(
        study_name=None if place is None else place.name,
        storage=None if place is None else _storage(place.storage),
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=first, constant_liar=place is not None),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=first, n_warmup_steps=max(1, model.epochs // 3)),
    )
    for name in candidates:
        study.enqueue_trial(first_trial(model, name, candidates[name]), skip_if_exists=place is not None)
    return study


def _storage(address: str) -> optuna.storages.BaseStorage:
    """Return the database of a URL, or the journal of a path."""
    if "://" in address:
        return database(address)
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    Path(address).parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(address))


def database(address: str) -> optuna.storages.RDBStorage:
    """Return a database in which the trial of a process that was killed is failed and tried anew by another.

    Every process says each minute that its trial lives; one that has been silent for longer is taken for dead. No
    connection is kept between two statements, because a fit lasts longer than databases and proxies hold idle ones.
    """
    import optuna
    from sqlalchemy.pool import NullPool

    with warnings.catch_warnings():  # the heartbeat has been called experimental since Optuna 2.9
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.storages.RDBStorage(
            address,
            engine_kwargs={"poolclass": NullPool},
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=SILENCE_SECONDS,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
        )


def first_trial(model: Model, name: str, candidate: Candidate) -> dict[str, Any]:
    """Return a candidate's first trial: the middle of every range."""
    values: dict[str, Any] = {
        "candidate": name,
        "learning_rate": math.sqrt(math.prod(model.search.learning_rate)),
        "weight_decay": math.sqrt(math.prod(model.search.weight_decay)),
    }
    if candidate.architecture == GRADIENT_BOOSTING:
        values |= {f"{name}.{key}": value for key, value in gradient_boosting.MIDDLE.items()}
    spans = model.search.vary.get(candidate.architecture, {})
    return values | {f"{name}.{key}": _middle(span) for key, span in spans.items()}


def suggest(trial: optuna.Trial, name: str, span: Span) -> int | float | str | bool:
    """Return what a trial is to try of one parameter."""
    if span.choices is not None:
        return cast("int | float | str | bool", trial.suggest_categorical(name, span.choices))
    low, high = _bounds(span)
    if isinstance(low, int) and isinstance(high, int):
        return int(trial.suggest_int(name, low, high, log=low > 0))
    return float(trial.suggest_float(name, low, high, log=low > 0))


def _bounds(span: Span) -> tuple[int | float, int | float]:
    assert span.low is not None
    assert span.high is not None
    return span.low, span.high


def _middle(span: Span) -> int | float | str | bool:
    if span.choices is not None:
        return span.choices[0]
    low, high = _bounds(span)
    middle = math.sqrt(low * high) if low > 0 else (low + high) / 2
    return round(middle) if isinstance(low, int) and isinstance(high, int) else middle


def unvaried(study: optuna.Study) -> list[str]:
    """Return the parameters of which fewer than two values were tried, apart from choices of one."""
    import optuna

    seen: dict[str, set[Any]] = {}
    able: dict[str, bool] = {}
    for trial in study.get_trials(states=_finished()):
        for name, value in trial.params.items():
            seen.setdefault(name, set()).add(value)
            span = trial.distributions[name]
            able[name] = not (isinstance(span, optuna.distributions.CategoricalDistribution) and len(span.choices) < 2)
    return sorted(name for name, values in seen.items() if len(values) < 2 and able[name])


def importances(study: optuna.Study, candidates: Mapping[str, Candidate]) -> dict[str, dict[str, float]]:
    """Return for each candidate how much of the score's variance each parameter explains (fANOVA, Hutter et al. 2014).

    A candidate with fewer than eight complete trials, or whose trials all score the same, has none.
    """
    import optuna

    found: dict[str, dict[str, float]] = {}
    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    for name in candidates:
        own = [trial for trial in complete if trial.params.get("candidate") == name]
        if len(own) < FEWEST_FOR_IMPORTANCE or len({trial.value for trial in own}) < 2:
            continue
        part = optuna.create_study(direction="maximize")
        part.add_trials([_without_candidate(trial) for trial in own])
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=SEARCH_SEED)
        ranked = optuna.importance.get_param_importances(part, evaluator=evaluator)
        found[name] = {parameter: round(float(share), 6) for parameter, share in ranked.items()}
    return found


def _without_candidate(trial: optuna.trial.FrozenTrial) -> optuna.trial.FrozenTrial:
    import optuna

    return optuna.trial.create_trial(
        value=trial.value,
        params={name: value for name, value in trial.params.items() if name != "candidate"},
        distributions={name: span for name, span in trial.distributions.items() if name != "candidate"},
    )


def finished_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Return the trials that ended, whole or pruned, by number."""
    found: list[optuna.trial.FrozenTrial] = study.get_trials(states=_finished())
    return found


def _finished() -> tuple[optuna.trial.TrialState, ...]:
    import optuna

    return optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's notes on every trial out of the step's log."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
