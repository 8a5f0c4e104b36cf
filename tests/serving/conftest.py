"""Tiny bundles, made without training: the network's weights are written down, so every answer is known."""

from __future__ import annotations

import datetime
import io
import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sextant_plan.bundle import (
    GOLDEN_FILE,
    REFERENCE_FILE,
    BundleSpec,
    Column,
    Member,
    ServingSpec,
    Tensor,
    seal_bundle,
)
from sextant_plan.reference import Reference, profile, write_reference
from sextant_plan.schema import ImageInput
from sextant_serving.client import Client
from sextant_serving.launch import Server, running_server
from sextant_serving.preprocessing import picture_statistics

IMAGE = ImageInput(height=8, width=8, channels=1)
CLASSES = ["heavy", "light", "medium"]

MakeBundle = Callable[..., Path]


def write_onnx(path: Path, *, columns: int, slow: int = 0, gain: float = 1.0) -> None:
    """Write softmax(W1 . mean(image) / 64 + gain W2 . features); `slow` adds that many 256 x 256 products."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = {
        "w_image": np.array([[2.0, -1.0, 0.5]], np.float32),
        "w_features": np.float32(gain) * np.linspace(-1, 1, columns * 3, dtype=np.float32).reshape(columns, 3),
        "scale": np.array(64.0, np.float32),
        "flat": np.array([0, -1], np.int64),
        "axis": np.array([1], np.int64),
        "square": np.full((256, 256), 1e-6, np.float32),
        "nothing": np.array(0.0, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["pixels", "flat"], ["flattened"]),
        helper.make_node("ReduceMean", ["flattened", "axis"], ["mean"], keepdims=1),
        helper.make_node("Div", ["mean", "scale"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "w_image"], ["from_image"]),
        helper.make_node("MatMul", ["features", "w_features"], ["from_features"]),
        helper.make_node("Add", ["from_image", "from_features"], ["sum0"]),
    ]
    previous = "square"
    for index in range(slow):
        nodes.append(helper.make_node("MatMul", [previous, "noise" if index == 0 else "square"], [f"p{index}"]))
        previous = f"p{index}"
    if slow:  # the product depends on the input, so that it cannot be folded away
        nodes.insert(7, helper.make_node("ReduceSum", ["sum0"], ["total"], keepdims=0))
        nodes.insert(8, helper.make_node("Mul", ["total", "square"], ["noise"]))
        nodes.append(helper.make_node("ReduceMax", [previous], ["top"], keepdims=0))
        nodes.append(helper.make_node("Mul", ["top", "nothing"], ["zero"]))
        nodes.append(helper.make_node("Add", ["sum0", "zero"], ["logits"]))
    else:
        nodes.append(helper.make_node("Identity", ["sum0"], ["logits"]))
    nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 8, 8, 1]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", columns]),
        ],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def expected_probabilities(
    image: NDArray[np.uint8], features: NDArray[np.float32], gain: float = 1.0
) -> NDArray[np.float64]:
    """Compute what the ONNX graph computes, in NumPy."""
    columns = features.shape[1]
    weights = np.float32(gain) * np.linspace(-1, 1, columns * 3, dtype=np.float32).reshape(columns, 3)
    mean = image.reshape(len(image), -1).mean(axis=1, keepdims=True) / 64
    logits = mean @ np.array([[2.0, -1.0, 0.5]]) + features @ weights
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


COLUMNS = [Column(name="weight", default=2.0), Column(name="zone", vocabulary=["north", "south"])]


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> MakeBundle:
    """A function that writes a sealed ONNX bundle; keywords replace parts of its description."""

    def make(
        *,
        serving: dict[str, Any] | None = None,
        slow: int = 0,
        gain: float = 1.0,
        golden_shift: float = 0.0,
        **parts: Any,
    ) -> Path:
        directory = tmp_path_factory.mktemp("bundle")
        columns: list[Column] = parts.get("columns", COLUMNS)
        write_onnx(directory / "model.onnx", columns=len(columns), slow=slow, gain=gain)
        generator = np.random.default_rng(7)
        image = generator.integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)
        features = generator.normal(size=(16, len(columns))).astype(np.float32)
        probabilities = (expected_probabilities(image, features, gain) + golden_shift).astype(np.float32)
        np.savez(directory / GOLDEN_FILE, image=image, features=features, probabilities=probabilities)
        measured: dict[str, NDArray[Any]] = {
            **picture_statistics(image),
            **{c.name: features[:, i] for i, c in enumerate(columns)},
        }
        reference = Reference(
            features=[profile(name, values, 4) for name, values in measured.items()],
            classes=dict.fromkeys(CLASSES, 5),
        )
        write_reference(directory / REFERENCE_FILE, reference)
        limits: dict[str, Any] = {
            "max_rows": 8,
            "max_wait": 0.002,
            "queue_rows": 64,
            "deadline": 5.0,
            "latency_edges_ms": [33.0],
            "abstain_below": 0.0,
            "missing_features": "default",
        }
        description: dict[str, Any] = {
            "name": "parcels",
            "version": "3",
            "task": "image-tabular-classification",
            "engine": "onnx",
            "members": [Member(file="model.onnx", architecture="none")],
            "image": IMAGE,
            "columns": columns,
            "entity": None,
            "feature_service": None,
            "classes": CLASSES,
            "inputs": [
                Tensor(name="image", datatype="UINT8", shape=[-1, 8, 8, 1]),
                Tensor(name="features", datatype="FP32", shape=[-1, len(columns)]),
            ],
            "outputs": [Tensor(name="probabilities", datatype="FP32", shape=[-1, 3])],
            "serving": ServingSpec(**{**limits, **(serving or {})}),
            "golden_tolerance": 1e-4,
            "plan_hash": "sha256:" + "0" * 64,
            "data_hash": "sha256:" + "1" * 64,
            "created": 1.7e9,
            "files": {},
        }
        seal_bundle(directory, BundleSpec(**{**description, **parts}))
        return directory

    return make


@pytest.fixture(scope="session")
def bundle(make_bundle: MakeBundle) -> Path:
    """The plain bundle: a picture, a number and a category, three classes."""
    return make_bundle()


@pytest.fixture(scope="session")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A live server of the plain bundle that keeps a feedback log; it must end with exit code 0."""
    log = tmp_path_factory.mktemp("feedback") / "labels.jsonl"
    with running_server(bundle=bundle, arguments=["--feedback-log", str(log)]) as running:
        yield running
    assert running.process.returncode == 0


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A connection to the live server."""
    with server.client() as connection:
        yield connection


@pytest.fixture(scope="session")
def picture() -> bytes:
    """An 8 x 8 grey PNG of known pixels, 0 to 252 in steps of 4."""
    return encode_png((np.arange(64, dtype=np.uint8) * 4).reshape(8, 8))


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def write_pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path]]:
    """A function that makes a certificate for some addresses, signed by itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def write(*hosts: str) -> tuple[Path, Path]:
        addresses = [x509.IPAddress(ipaddress.ip_address(host)) for host in hosts]
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sextant")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
            .sign(key, hashes.SHA256())
        )
        folder = tmp_path_factory.mktemp("tls")
        (folder / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / "tls.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return folder / "tls.crt", folder / "tls.key"

    return write
