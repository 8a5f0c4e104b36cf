"""Several processes that fit one network end where one process ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import hashlib, json, sys
import numpy as np
from sextant_components.teams import Stopped, assembled
from sextant_components.tensors import Examples
from sextant_components.training import Settings, Shape, fit
from sextant_plan.bundle import Column

def examples(rows):
    generator = np.random.default_rng(rows)
    features = generator.normal(size=(rows, 3)).astype(np.float32)
    labels = (features[:, 0] * 2 > features[:, 1]).astype(np.int64)
    return Examples(list(range(rows)), {"features": features}, labels)

shape = Shape(None, [Column(name=name) for name in "xyz"], ["a", "b"])
train, valid = examples(96), examples(40)
settings = Settings("mlp", {"hidden": 8, "layers": 1}, 1e-2, 1e-4, 3, 16, seed=0)

def stop(number, _epoch):
    if number == 1:
        raise KeyError("enough")

def told(fitted):
    weights = {name: tensor.double().tolist() for name, tensor in fitted.network.state_dict().items()}
    return {"weights": weights, "history": [epoch.model_dump() for epoch in fitted.history]}

if sys.argv[1] == "alone":
    print(json.dumps(told(fit(settings, shape, train, valid))))
else:
    with assembled() as team:
        if team.leads:
            try:
                fit(settings, shape, train, valid, on_epoch=stop)
            except KeyError:
                pass
            said = told(fit(settings, shape, train, valid))
            team.dismiss()
            print(json.dumps(said))
        else:
            while (order := team.next_fit()) is not None:
                try:
                    fit(order, shape, train, valid)
                except Stopped:
                    pass
"""


def _environment(rank: int, port: int) -> dict[str, str]:
    team = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    return {**os.environ, **team, "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    """A fit that the first member stops early leaves the team whole; the next one ends as that of one process does."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    alone = subprocess.run([sys.executable, program, "alone"], check=True, capture_output=True, text=True)
    port = _free_port()
    members = [
        subprocess.Popen(
            [sys.executable, program, "team"], env=_environment(rank, port), stdout=subprocess.PIPE, text=True
        )
        for rank in (1, 0)
    ]
    outputs = [member.communicate(timeout=300)[0] for member in members]
    assert [member.returncode for member in members] == [0, 0]
    one, two = json.loads(alone.stdout), json.loads(outputs[1])
    assert one["history"][0].keys() == two["history"][0].keys()
    assert len(one["history"]) == len(two["history"])
    for name, weights in one["weights"].items():
        assert (
            two["weights"][name] == pytest.approx(weights, abs=1e-5)
            if not isinstance(weights[0], list)
            else all(
                mine == pytest.approx(theirs, abs=1e-5)
                for mine, theirs in zip(two["weights"][name], weights, strict=True)
            )
        )
