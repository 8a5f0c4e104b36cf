"""One study in PostgreSQL: several processes at once, one of them killed in the middle of its trial."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from sextant_components.modelling import tuning
from sextant_components.modelling.studies import Place, database
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.training import Shape
from sextant_components.modelling.tuning import help_search, search
from sextant_plan.bundle import Column
from sextant_plan.schema import Model

pytestmark = pytest.mark.servers
SHAPE = Shape(None, [Column(name="x"), Column(name="y")], ["a", "b"])
MODEL = Model.model_validate(
    {
        "task": "tabular-classification",
        "inputs": {"columns": ["x", "y"]},
        "candidates": [{"architecture": "mlp", "params": {"layers": 1}}, {"architecture": "linear"}],
        "epochs": 2,
        "batch_size": 16,
        "search": {"trials": 6},
    }
)
PROGRAM = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("helper", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.help_from_here(*sys.argv[2:])
"""


def _examples(rows: int) -> Examples:
    features = np.random.default_rng(rows).normal(size=(rows, 2)).astype(np.float32)
    return Examples(list(range(rows)), {"features": features}, (features[:, 0] * 2 > features[:, 1]).astype(np.int64))


def help_from_here(address: str, folder: str, number: str, fate: str) -> None:
    """Help with the study in this process, which kills itself in its first fit if that is its fate."""
    if fate == "killed":

        def killed(*_arguments: Any, **_options: Any) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        tuning.fit_candidate = killed  # type: ignore[attr-defined, assignment]
    place = Place(address, "study", int(number))
    help_search(MODEL, SHAPE, _examples(64), _examples(40), checkpoints=Path(folder), place=place)


def _start(*arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, __file__, *arguments], env=environment)


def test_a_killed_processs_trial_fails_and_is_tried_anew_and_none_is_lost(
    postgres: dict[str, Any], tmp_path: Path
) -> None:
    """Its heartbeat is set back by an hour, which stands for the time that a cluster would wait."""
    where = f"{postgres['user']}@{postgres['host']}:{postgres['port']}/{postgres['database']}"
    address = f"postgresql+psycopg://{where}"
    with _start(address, str(tmp_path), "1", "killed") as victim:
        assert victim.wait() == -signal.SIGKILL
    back = "update trial_heartbeats set heartbeat = heartbeat - interval '1 hour'"
    subprocess.run(["psql", f"postgresql://{where}", "-qc", back], check=True)
    with _start(address, str(tmp_path), "2", "lives") as helper:
        place = Place(address, "study", 0)
        found = search(MODEL, SHAPE, _examples(64), _examples(40), checkpoints=tmp_path, place=place)
        assert helper.wait() == 0
    trials = optuna.load_study(study_name="study", storage=database(address)).trials
    assert [trial.number for trial in trials] == list(range(len(trials)))
    states = optuna.trial.TrialState
    (dead,) = [trial for trial in trials if trial.state == states.FAIL]
    ended = [trial for trial in trials if trial.state in {states.COMPLETE, states.PRUNED}]
    (again,) = [trial for trial in ended if trial.system_attrs.get("failed_trial") == dead.number]
    assert again.params == dead.params
    assert not [trial for trial in trials if trial.state == states.RUNNING]
    assert len(ended) >= MODEL.search.trials
    assert {trial.number for trial in found.trials} <= {trial.number for trial in ended}
    assert set(found.best) == {"mlp", "linear"}
