"""Engines give the same probabilities as their network, and refuse weights that do not fit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sextant_plan.bundle import BundleSpec, Member, read_bundle, seal_bundle
from sextant_plan.errors import BundleCorrupt
from sextant_serving.engines import check_golden, load_engine

MakeBundle = Callable[..., Path]


def test_members_of_an_ensemble_are_averaged(make_bundle: MakeBundle) -> None:
    """Two ONNX members answer with their mean."""
    bundle, other = make_bundle(), make_bundle(gain=-2.0)
    spec = read_bundle(bundle)
    inputs: dict[str, NDArray[Any]] = {
        "image": np.full((2, 8, 8, 1), 40, np.uint8),
        "features": np.ones((2, 2), np.float32),
    }
    one, two = load_engine(bundle, spec).run(inputs), load_engine(other, spec).run(inputs)
    (bundle / "second.onnx").write_bytes((other / "model.onnx").read_bytes())
    pair = spec.model_copy(update={"members": [*spec.members, Member(file="second.onnx", architecture="none")]})
    assert np.abs(one - two).max() > 0.1
    np.testing.assert_allclose(load_engine(bundle, pair).run(inputs), np.mean([one, two], axis=0), rtol=1e-6)


def test_a_file_that_is_no_onnx_is_a_corrupt_bundle(make_bundle: MakeBundle) -> None:
    """The error names the file."""
    bundle = make_bundle()
    (bundle / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleCorrupt, match=r"model\.onnx"):
        load_engine(bundle, read_bundle_unchecked(bundle))


def test_golden_requests_within_the_tolerance_pass(make_bundle: MakeBundle) -> None:
    """The tolerance decides, on both of its sides."""
    bundle = make_bundle(golden_shift=0.001, golden_tolerance=0.002)
    spec = read_bundle(bundle)
    engine = load_engine(bundle, spec)
    check_golden(engine, bundle, spec)
    with pytest.raises(BundleCorrupt, match=r"tolerance of 0\.0005"):
        check_golden(engine, bundle, spec.model_copy(update={"golden_tolerance": 0.0005}))


def read_bundle_unchecked(bundle: Path) -> BundleSpec:
    """Return the description of a bundle whose files may differ from it."""
    return BundleSpec.model_validate_json((bundle / "bundle.json").read_bytes())


def test_torch_weights_are_served_from_safetensors(make_bundle: MakeBundle) -> None:
    """An architecture with saved weights answers as the module does, and other weights are refused."""
    import torch
    from safetensors.torch import save_file

    from sextant_serving.architectures import Answering, build

    torch.set_num_threads(1)
    bundle = make_bundle()
    spec = read_bundle(bundle)
    module = build("fusion", {}, image=spec.image, columns=len(spec.columns), classes=len(spec.classes))
    save_file(module.state_dict(), bundle / "model.safetensors")
    member = Member(file="model.safetensors", architecture="fusion")
    eager = spec.model_copy(update={"engine": "torch-safetensors", "members": [member], "files": {}})
    image = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    features = np.ones((3, 2), np.float32)
    with torch.inference_mode():
        softmax = Answering(module).eval()
        expected = softmax(image=torch.from_numpy(image), features=torch.from_numpy(features)).numpy()
    (bundle / "model.onnx").unlink()
    found = load_engine(bundle, seal_bundle(bundle, eager)).run({"image": image, "features": features})
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    save_file({"other": torch.zeros(2)}, bundle / "model.safetensors")
    with pytest.raises(BundleCorrupt, match="the weights of fusion"):
        load_engine(bundle, eager)


def test_onnx_runtime_is_told_to_send_nothing_to_its_makers(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is set before the library can read it, unless whoever runs the server has set it."""
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    load_engine(bundle, read_bundle(bundle))
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
