"""Several processes that fit one network end where one process ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sextant_components.modelling.teams import Stopped, assembled
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.training import Fitted, Settings, Shape, fit
from sextant_plan.bundle import Column

SHAPE = Shape(None, [Column(name=name) for name in "xyz"], ["a", "b"])
SETTINGS = Settings("mlp", {"hidden": 8, "layers": 1}, 1e-2, 1e-4, 3, 16, seed=0)


def _examples(rows: int) -> Examples:
    features = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
    return Examples(list(range(rows)), {"features": features}, (features[:, 0] * 2 > features[:, 1]).astype(np.int64))


def _told(fitted: Fitted) -> dict[str, Any]:
    network: Any = fitted.network
    weights = {name: tensor.double().flatten().tolist() for name, tensor in network.state_dict().items()}
    return {"weights": weights, "history": [epoch.model_dump() for epoch in fitted.history]}


def _stop(number: int, _epoch: object) -> None:
    if number == 1:
        raise KeyError("enough")


def be_a_member(told: str) -> None:
    """Take part in a fit that the first member stops early, and in a whole one, which it writes down."""
    train, valid = _examples(96), _examples(40)
    with assembled() as team:
        if team.leads:
            with pytest.raises(KeyError):
                fit(SETTINGS, SHAPE, train, valid, on_epoch=_stop)
            Path(told).write_text(json.dumps(_told(fit(SETTINGS, SHAPE, train, valid))))
            team.dismiss()
            return
        ends = []
        while (order := team.next_fit()) is not None:
            try:
                fit(order, SHAPE, train, valid)
                ends.append("whole")
            except Stopped:
                ends.append("stopped")
        assert ends == ["stopped", "whole"]


PROGRAM = (
    "import importlib.util, sys\n"
    "spec = importlib.util.spec_from_file_location('member', sys.argv[1])\n"
    "module = importlib.util.module_from_spec(spec)\n"
    "spec.loader.exec_module(module)\n"
    "module.be_a_member(sys.argv[2])\n"
)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # three processes load torch, which takes minutes each where everybody wants the processor
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    """A fit that the first member stops early leaves the team whole; the next one ends as that of one process does.

    torchrun finds the port and ends the other member where one fails, so that nobody waits for a lost one.
    """
    program, told = tmp_path / "program.py", tmp_path / "told.json"
    program.write_text(PROGRAM)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    done = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", str(program), __file__, str(told)],
        check=False,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    one, two = _told(fit(SETTINGS, SHAPE, _examples(96), _examples(40))), json.loads(told.read_text())
    assert len(one["history"]) == len(two["history"]) == SETTINGS.epochs
    assert one["weights"].keys() == two["weights"].keys()
    for name, weights in one["weights"].items():
        assert two["weights"][name] == pytest.approx(weights, abs=1e-5), name
