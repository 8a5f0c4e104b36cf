"""The models of the benchmark: one ONNX file each, the same bytes in every server, and a Sextant bundle around it.

Weights are random: nothing here is about what is predicted. `image` is UINT8 (rows, height, width, channels),
`probabilities` FP32 (rows, 10).
"""

from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sextant_plan.bundle import (
    GOLDEN_FILE,
    REFERENCE_FILE,
    BundleSpec,
    Engine,
    Member,
    ServingSpec,
    Tensor,
    seal_bundle,
)
from sextant_plan.reference import Reference, profile, write_reference
from sextant_plan.schema import ImageInput
from sextant_serving.preprocessing import picture_statistics

CLASSES = [f"class-{number}" for number in range(10)]
MAX_ROWS, MAX_WAIT_SECONDS = 32, 0.002
FILE = "model.onnx"


@dataclass(frozen=True)
class BenchModel:
    """A network by name, and the size of its pictures in pixels."""

    name: str
    side: int
    channels: int
    text: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one picture."""
        return self.side, self.side, self.channels

    @property
    def image(self) -> ImageInput:
        """The same as a bundle says it."""
        return ImageInput(height=self.side, width=self.side, channels=3 if self.channels == 3 else 1)


MODELS = {
    model.name: model
    for model in (
        BenchModel("null", 8, 1, "one matrix product of 10 numbers: what is left is the server"),
        BenchModel("small-cnn", 32, 3, "three convolutions of 16, 32 and 64 channels"),
        BenchModel("resnet18-64", 64, 3, "ResNet-18 at 64 x 64 pixels"),
        BenchModel("resnet18-224", 224, 3, "ResNet-18 at 224 x 224 pixels"),
    )
}


def picture_batch(model: BenchModel, rows: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return random pictures of shape (rows, height, width, channels), even enough for JPEG to compress as photos."""
    generator = np.random.default_rng(11)
    coarse = generator.integers(0, 256, (rows, 8, 8, model.channels), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(model.side // 8, axis=1).repeat(model.side // 8, axis=2))


def make_bundle(model: BenchModel, directory: Path) -> Path:
    """Write the network and seal a bundle around it; returns its folder, made once."""
    bundle = directory / model.name
    if (bundle / "bundle.json").exists():
        return bundle
    shutil.rmtree(bundle, ignore_errors=True)
    bundle.mkdir(parents=True)
    _export(model, bundle / FILE)
    image = picture_batch(model, 2)
    np.savez(bundle / GOLDEN_FILE, image=image, probabilities=_run(bundle / FILE, image))
    write_picture_reference(model, bundle)
    seal_bundle(bundle, describe(model, "onnx", Member(file=FILE, architecture=model.name)))
    return bundle


def write_picture_reference(model: BenchModel, bundle: Path) -> None:
    """Write the reference profile of random pictures into a bundle's folder."""
    measured = picture_statistics(picture_batch(model, 64))
    features = [profile(name, values, 10) for name, values in measured.items()]
    write_reference(bundle / REFERENCE_FILE, Reference(features=features, classes=dict.fromkeys(CLASSES, 1)))


def describe(model: BenchModel, engine: Engine, member: Member, *, tolerance: float = 1e-3) -> BundleSpec:
    """Return the description of a bundle of one member; golden answers may be off by `tolerance`."""
    return BundleSpec(
        name="bench",
        version="1",
        task="image-classification",
        engine=engine,
        members=[member],
        image=model.image,
        columns=[],
        entity=None,
        feature_service=None,
        classes=CLASSES,
        inputs=[Tensor(name="image", datatype="UINT8", shape=[-1, *model.shape])],
        outputs=[Tensor(name="probabilities", datatype="FP32", shape=[-1, len(CLASSES)])],
        serving=ServingSpec(
            max_rows=MAX_ROWS,
            max_wait=MAX_WAIT_SECONDS,
            queue_rows=512,
            deadline=30.0,
            latency_edges_ms=[100.0],
            abstain_below=0.0,
            missing_features="default",
        ),
        golden_tolerance=tolerance,
        plan_hash="sha256:" + "0" * 64,
        data_hash="sha256:" + "0" * 64,
        created=1.7e9,
        files={},
    )


def _run(path: Path, image: np.ndarray[Any, Any]) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": image})[0]


def _export(model: BenchModel, path: Path) -> None:
    import torch

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, and ten times as fast on these networks
        torch.onnx.export(
            _network(model).eval(),
            (torch.from_numpy(picture_batch(model, 2)),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=["probabilities"],
            dynamic_axes={"image": {0: "rows"}, "probabilities": {0: "rows"}},
        )


def _network(model: BenchModel) -> Any:
    import torch
    from torch import nn

    class FromBytes(nn.Module):
        """Scaling and softmax around a network, as Sextant's networks have them."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.softmax(self.inner(image.permute(0, 3, 1, 2).float() / 255), dim=1)

    if model.name == "null":
        return FromBytes(nn.Sequential(nn.Flatten(), nn.Linear(model.side**2 * model.channels, 10)))
    if model.name == "small-cnn":
        layers: list[nn.Module] = []
        for before, after in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        return FromBytes(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)))
    from torchvision.models import resnet18

    return FromBytes(resnet18(num_classes=10))
