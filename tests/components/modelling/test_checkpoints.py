"""A training that is killed goes on where it was and ends with the same weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sextant_components.modelling.checkpoints import Epoch
from sextant_components.modelling.epochs import Run
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.training import Fitted, Settings, Shape, fit
from sextant_plan.bundle import Column
from sextant_plan.errors import InfrastructureError
from sextant_plan.schema import Training

SHAPE = Shape(None, [Column(name="x"), Column(name="y")], ["a", "b"])
SETTINGS = Settings("mlp", {"hidden": 8, "layers": 1, "dropout": 0.3}, 1e-2, 1e-4, 5, 16, seed=3)


def _examples(rows: int) -> Examples:
    features = np.random.default_rng(rows).normal(size=(rows, 2)).astype(np.float32)
    return Examples(list(range(rows)), {"features": features}, (features[:, 0] > features[:, 1]).astype(np.int64))


def _fit(folder: Path | None, settings: Settings = SETTINGS) -> tuple[Fitted, list[int]]:
    """Return the fit and the numbers of the epochs that were reported."""
    epochs: list[int] = []
    fitted = fit(
        settings, SHAPE, _examples(60), _examples(30), on_epoch=lambda n, _e: epochs.append(n), checkpoints=folder
    )
    return fitted, epochs


def _weights(fitted: Fitted) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in fitted.network.state_dict().values()]  # type: ignore[union-attr]


def _kill(number: int, _epoch: Epoch) -> None:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)


def train_until_killed(folder: str, place: str) -> None:
    """Fit in this process, which is killed after its third epoch, or at the third of the second one's four steps."""
    step, taken = Run._step, []
    kept: dict[str, Any] = {"checkpoints": Path(folder)}

    def deadly(run: Run, rows: Any) -> Any:
        taken.append(rows)
        if len(taken) == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(run, rows)

    if place == "inside an epoch":
        Run._step = deadly  # type: ignore[method-assign, assignment]
    else:
        kept["on_epoch"] = _kill
    fit(KILLED_AT[place], SHAPE, _examples(60), _examples(30), **kept)


PROGRAM = (
    "import importlib.util, sys\n"
    "spec = importlib.util.spec_from_file_location('killed', sys.argv[1])\n"
    "module = importlib.util.module_from_spec(spec)\n"
    "spec.loader.exec_module(module)\n"
    "module.train_until_killed(*sys.argv[2:])\n"
)
KILLED_AT = {"between epochs": SETTINGS, "inside an epoch": replace(SETTINGS, training=Training(checkpoint_steps=1))}


@pytest.mark.parametrize("place", KILLED_AT)
def test_a_killed_training_resumes_to_the_same_weights(tmp_path: Path, place: str) -> None:
    """After SIGKILL the rest gives bit for bit what an unbroken training gives; no step before it is taken again."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(
        [sys.executable, "-c", PROGRAM, __file__, str(tmp_path), place],
        check=False,
        env=environment,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    (file,) = tmp_path.glob("*.pt")
    state = torch.load(file, weights_only=True)
    whole, steps = (3, 0) if place == "between epochs" else (1, 2)
    assert (len(state["history"]), state["steps"]) == (whole, steps)
    before = file.read_bytes()
    resumed, epochs = _fit(tmp_path, KILLED_AT[place])
    unbroken, _ = _fit(None, KILLED_AT[place])
    assert file.read_bytes() != before
    assert epochs == [0, 1, 2, 3, 4]
    assert resumed.history == unbroken.history
    assert _weights(resumed) == _weights(unbroken)
    np.testing.assert_array_equal(resumed.outputs, unbroken.outputs)


def test_a_finished_fit_is_not_trained_again(tmp_path: Path) -> None:
    """A search that is run again takes its finished trials from their checkpoints."""
    first, _ = _fit(tmp_path)
    (file,) = tmp_path.glob("*.pt")
    written = file.stat().st_mtime_ns
    again, epochs = _fit(tmp_path)
    assert _weights(first) == _weights(again)
    assert epochs == [0, 1, 2, 3, 4]
    assert file.stat().st_mtime_ns == written


def test_other_settings_do_not_take_up_a_checkpoint(tmp_path: Path) -> None:
    """A checkpoint belongs to one fit: another learning rate starts anew, in a file of its own."""
    _fit(tmp_path)
    other = replace(SETTINGS, learning_rate=2e-2)
    assert _weights(_fit(tmp_path, other)[0]) == _weights(_fit(None, other)[0])
    assert len(list(tmp_path.glob("*.pt"))) == 2


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    """It is neither believed nor silently thrown away."""
    _fit(tmp_path)
    (file,) = tmp_path.glob("*.pt")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InfrastructureError, match=r"\.pt: a damaged checkpoint\. Delete it"):
        _fit(tmp_path)
