"""Backbones: from scratch or from a file whose digest the plan names, and exported like any other network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sextant_components.modelling.bundle_export import TOLERANCE, export_onnx
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.training import Settings, Shape, fit, new_network, predict, repeatable
from sextant_plan.bundle import Column
from sextant_plan.schema import ImageInput
from sextant_serving.architectures import ArchitectureMisfit

BACKBONES = ("efficientnet-b0", "mobilenet-v3-small", "resnet18")
IMAGE = ImageInput(height=16, width=16, channels=1)


def _examples(rows: int) -> Examples:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (rows, 16, 16, 1), dtype=np.uint8)
    features = generator.normal(size=(rows, 2)).astype(np.float32)
    return Examples(list(range(rows)), {"image": image, "features": features}, np.arange(rows) % 2)


def _shape(plan_dir: Path) -> Shape:
    return Shape(IMAGE, [Column(name="x"), Column(name="y")], ["a", "b"], plan_dir)


def _settings(name: str, **params: Any) -> Settings:
    return Settings(name, params, 1e-3, 0.0, 1, 4, seed=0)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_is_trained_and_exported(name: str, tmp_path: Path) -> None:
    """One epoch on a grey picture with columns; ONNX Runtime then answers as the network does."""
    import onnxruntime

    rows = _examples(8)
    network = fit(_settings(name), _shape(tmp_path), rows, rows).network
    export_onnx(network, tmp_path / "model.onnx", rows.inputs)  # type: ignore[arg-type]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, rows.inputs)[0]
    np.testing.assert_allclose(found, predict(network, rows.inputs), atol=TOLERANCE)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Weights as torchvision publishes them, with the head for 1000 classes."""
    from torchvision.models import mobilenet_v3_small

    with repeatable(7):
        return dict(mobilenet_v3_small(weights=None).state_dict())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("file", ["weights.safetensors", "weights.pth"])
def test_the_body_starts_from_the_named_weights(file: str, tmp_path: Path, published: dict[str, torch.Tensor]) -> None:
    """Every tensor of the body is the file's; the head for other classes is left out."""
    path = tmp_path / file
    save_file(published, path) if path.suffix == ".safetensors" else torch.save(published, path)
    settings = _settings("mobilenet-v3-small", weights=file, weights_sha256=_digest(path))
    with repeatable(0):
        network = new_network(settings, _shape(tmp_path), _examples(8))
    found = {key.removeprefix("body."): tensor for key, tensor in network.state_dict().items() if "body." in key}
    assert found.keys() == {key for key in published if not key.startswith("classifier.")}
    assert all(torch.equal(tensor, published[key]) for key, tensor in found.items())


class Payload:
    """What a hostile file would run when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("unpickled",))


@pytest.mark.parametrize(
    ("content", "digest", "message"),
    [
        pytest.param(None, "", "no weights can be read", id="absent"),
        pytest.param({"x": torch.zeros(1)}, "0" * 64, "has the SHA-256", id="other-digest"),
        pytest.param({"x": torch.zeros(1)}, "", "weights_sha256 says nothing", id="no-digest"),
        pytest.param({"x": torch.zeros(1)}, None, "holds other tensors", id="other-tensors"),
        pytest.param({"x": Payload()}, None, "is no file of weights", id="code"),
    ],
)
def test_weights_that_are_not_what_the_plan_names_are_refused(
    content: object, digest: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each fault is named, and code in a file is not run."""
    path = tmp_path / "weights.pth"
    if content is not None:
        torch.save(content, path)
    settings = _settings(
        "mobilenet-v3-small", weights=path.name, weights_sha256=_digest(path) if digest is None else digest
    )
    with pytest.raises(ArchitectureMisfit, match=f"mobilenet-v3-small: .*{message}"):
        new_network(settings, _shape(tmp_path), _examples(8))
    assert "unpickled" not in capsys.readouterr().out
