"""What a GPU changes: training in half precision, the same weights from the same seed, the same answers when served.

They import nothing beyond torch, torchvision, LightGBM, numpy, pydantic and safetensors.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.training import Fitted, Settings, Shape, fit, new_network, predict, repeatable
from sextant_plan.bundle import BundleSpec, Column, Member, ServingSpec, Tensor
from sextant_plan.schema import ImageInput, Training
from sextant_serving.engines import load_engine

if TYPE_CHECKING:
    import torch

    from sextant_serving.architectures import Network

pytestmark = pytest.mark.gpu
IMAGE = ImageInput(height=32, width=32, channels=3)
SHAPE = Shape(IMAGE, [Column(name="x")], ["dark", "light"])
HALF = Training(precision="bfloat16", channels_last=True, clip_norm=1.0, class_weights="balanced")
SETTINGS = Settings("small-cnn", {"width": 8}, 5e-3, 1e-4, 4, 32, seed=1)
ARCHITECTURES = {
    "small-cnn": {"width": 8},
    "fusion": {},
    "resnet18": {},
    "mobilenet-v3-small": {},
    "efficientnet-b0": {},
    "vit": {"layers": 2, "width": 64},
}


@pytest.fixture
def cuda() -> torch.device:
    """The first GPU; without one the test is skipped."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU is visible to torch")
    torch.cuda.init()  # type: ignore[no-untyped-call]  # memory is counted only from then on
    return torch.device("cuda", 0)


def _examples(rows: int) -> Examples:
    """Return pictures of noise that is dark or light by their label, and a column that says nothing."""
    generator = np.random.default_rng(rows)
    labels = (np.arange(rows) % 2).astype(np.int64)
    pictures = generator.integers(0, 150, (rows, 32, 32, 3)) + 60 * labels[:, None, None, None]
    features = generator.normal(size=(rows, 1)).astype(np.float32)
    return Examples(list(range(rows)), {"image": pictures.astype(np.uint8), "features": features}, labels)


def _weights(fitted: Fitted) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in fitted.network.state_dict().values()]  # type: ignore[union-attr]


def _spec(architecture: str, params: dict[str, Any]) -> BundleSpec:
    serving = ServingSpec(
        max_rows=32,
        max_wait=0.002,
        queue_rows=64,
        deadline=1.0,
        latency_edges_ms=[50.0],
        abstain_below=0.0,
        missing_features="default",
    )
    return BundleSpec(
        name="shade",
        version="1",
        task="image-tabular-classification",
        engine="torch-safetensors",
        members=[Member(file="model.safetensors", architecture=architecture, params=params)],
        image=IMAGE,
        columns=SHAPE.columns,
        entity=None,
        feature_service=None,
        classes=SHAPE.classes,
        inputs=[Tensor(name="image", datatype="UINT8", shape=[-1, 32, 32, 3])],
        outputs=[Tensor(name="probabilities", datatype="FP32", shape=[-1, 2])],
        serving=serving,
        golden_tolerance=1e-4,
        plan_hash="sha256:" + "0" * 64,
        data_hash="sha256:" + "0" * 64,
        created=0.0,
        files={},
    )


@pytest.mark.parametrize("training", [Training(), HALF], ids=["float32", "bfloat16-channels-last"])
def test_a_network_learns_on_the_gpu(cuda: torch.device, training: Training) -> None:
    """The GPU is used, and the classes are told apart by the network that comes back."""
    import torch

    torch.cuda.reset_peak_memory_stats(cuda)
    before = torch.cuda.max_memory_allocated(cuda)
    valid = _examples(80)
    fitted = fit(replace(SETTINGS, training=training), SHAPE, _examples(256), valid)
    assert torch.cuda.max_memory_allocated(cuda) > before
    assert fitted.history[-1].train_loss < fitted.history[0].train_loss
    assert fitted.score > 0.9
    assert (predict(fitted.network, valid.inputs).argmax(axis=1) == valid.labels).mean() > 0.9


@pytest.mark.parametrize("training", [Training(), HALF], ids=["float32", "bfloat16-channels-last"])
def test_the_same_seed_gives_the_same_weights_on_the_gpu(cuda: torch.device, training: Training) -> None:
    """Bit for bit on the same GPU, as on the CPU."""
    settings = replace(SETTINGS, training=training)
    first, again = (fit(settings, SHAPE, _examples(128), _examples(40)) for _ in range(2))
    assert _weights(first) == _weights(again)


def test_a_broken_off_training_resumes_on_the_gpu(cuda: torch.device, tmp_path: Path) -> None:
    """A fit that ends after two epochs and goes on from its checkpoint has the weights of an unbroken one."""

    def stop(number: int, _epoch: Any) -> None:
        if number == 1:
            raise KeyboardInterrupt

    train, valid = _examples(128), _examples(40)
    with pytest.raises(KeyboardInterrupt):
        fit(SETTINGS, SHAPE, train, valid, on_epoch=stop, checkpoints=tmp_path)
    resumed = fit(SETTINGS, SHAPE, train, valid, checkpoints=tmp_path)
    assert _weights(resumed) == _weights(fit(SETTINGS, SHAPE, train, valid))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_network_trains_in_half_precision_on_the_gpu(cuda: torch.device, architecture: str) -> None:
    """No layer of any candidate lacks a deterministic kernel; one epoch is enough to meet them all."""
    settings = replace(SETTINGS, architecture=architecture, params=ARCHITECTURES[architecture], epochs=1, training=HALF)
    fitted = fit(settings, SHAPE, _examples(64), _examples(32))
    assert np.isfinite(fitted.outputs).all()
    assert np.isfinite(fitted.history[0].train_loss)


@pytest.mark.parametrize("architecture", ["small-cnn", "resnet18", "vit"])
@pytest.mark.parametrize("kind", ["torch-safetensors", "torch-channels-last", "torch-cuda-graphs"])
def test_the_served_engine_on_the_gpu_agrees_with_the_cpu(
    cuda: torch.device, tmp_path: Path, architecture: str, kind: str
) -> None:
    """Within the default golden tolerance: convolutions are computed in full precision when a model is served."""
    network, spec, inputs = _served(architecture, tmp_path)
    found = load_engine(tmp_path, spec.model_copy(update={"engine": kind})).run(inputs)
    assert np.abs(found - predict(network, inputs)).max() <= spec.golden_tolerance


@pytest.mark.parametrize("architecture", ["small-cnn", "resnet18", "vit"])
def test_recorded_half_precision_answers_as_eager_half_precision_does(
    cuda: torch.device, tmp_path: Path, architecture: str
) -> None:
    """Both are near the full precision, and neither is farther from it than half precision makes it."""
    network, spec, inputs = _served(architecture, tmp_path)
    for kind in ("torch-bf16", "torch-cuda-graphs-bf16"):
        found = load_engine(tmp_path, spec.model_copy(update={"engine": kind})).run(inputs)
        assert np.abs(found - predict(network, inputs)).max() <= 0.02


def test_replayed_batches_hold_nothing_of_the_batch_before(cuda: torch.device, tmp_path: Path) -> None:
    """Batches of any number of rows, one after the other, answer as the eager network does."""
    _, spec, inputs = _served("small-cnn", tmp_path)
    serving = spec.serving.model_copy(update={"max_rows": 16})
    spec = spec.model_copy(update={"serving": serving})
    eager, graphs = (
        load_engine(tmp_path, spec.model_copy(update={"engine": kind}))
        for kind in ("torch-safetensors", "torch-cuda-graphs")
    )
    for first, rows in ((0, 9), (9, 1), (10, 16), (26, 2), (28, 15), (0, 40), (50, 1)):
        part = {name: array[first : first + rows] for name, array in inputs.items()}
        found = graphs.run(part)
        assert len(found) == rows
        np.testing.assert_allclose(found, eager.run(part), atol=spec.golden_tolerance)


def _served(architecture: str, folder: Path) -> tuple[Network, BundleSpec, dict[str, Any]]:
    """Return an untrained network whose weights lie in `folder`, its description, and inputs."""
    from safetensors.torch import save_file

    examples = _examples(64)
    settings = replace(SETTINGS, architecture=architecture, params=ARCHITECTURES[architecture])
    with repeatable(0):
        network = new_network(settings, SHAPE, examples)
    network.eval()
    save_file(network.state_dict(), str(folder / "model.safetensors"))
    spec = _spec(architecture, dict(settings.params))
    if "features" not in network.reads:
        spec = spec.model_copy(update={"columns": []})
    return network, spec, {name: examples.inputs[name] for name in network.reads}
