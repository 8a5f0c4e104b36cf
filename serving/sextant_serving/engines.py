"""Engines: what turns input tensors into answers; no pickle is read by any of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sextant_plan.bundle import GOLDEN_FILE, BundleSpec
from sextant_plan.errors import BundleCorrupt

Inputs = Mapping[str, NDArray[Any]]
Outputs = NDArray[np.float32]
"""Probabilities, shape (rows, classes), or numbers in the label's unit, shape (rows, 1)."""


class Engine(Protocol):
    """A loaded network, set of trees, or ensemble."""

    def run(self, inputs: Inputs) -> Outputs:
        """Return the answers. `inputs` holds the tensors of `BundleSpec.inputs` by name."""


def load_engine(directory: Path, spec: BundleSpec, *, threads: int = 1) -> Engine:
    """Load the bundle's members on `threads` threads, on the GPU if the engine's library offers one.

    Raises BundleCorrupt if a member is not what `spec.engine` can load.
    """
    return KINDS[spec.engine](directory, spec, threads)


class OnnxEngine:
    """ONNX Runtime; the members of an ensemble are averaged."""

    def __init__(self, directory: Path, spec: BundleSpec, threads: int) -> None:
        # Releases of ONNX Runtime differ in what they send to their makers; this one is told before it is loaded.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # its errors, which are raised as well, quote what a request holds
        # A spinning thread takes the core that the protocol needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        offered = onnxruntime.get_available_providers()
        # In full precision on a GPU too, as `TorchEngine` says.
        options_of: dict[str, dict[str, str]] = {"CUDAExecutionProvider": {"use_tf32": "0"}, "CPUExecutionProvider": {}}
        providers = [(name, own) for name, own in options_of.items() if name in offered]
        self._sessions, self._output = [], spec.answer
        for member in spec.members:
            try:
                session = onnxruntime.InferenceSession(directory / member.file, options, providers=providers)
            except Exception as error:  # the library has no public base class for its load errors
                raise BundleCorrupt(directory, member.file, f"what {type(error).__name__} refuses", "ONNX") from error
            self._sessions.append(session)

    def run(self, inputs: Inputs) -> Outputs:
        """Return the answers."""
        feeds = dict(inputs)
        return _mean([session.run([self._output], feeds)[0] for session in self._sessions])


class TorchEngine:
    """Eager PyTorch: architectures from this package, weights from safetensors; members are averaged."""

    def __init__(self, directory: Path, spec: BundleSpec, threads: int) -> None:
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from sextant_serving.architectures import Answering, build

        torch.set_num_threads(threads)
        # A GPU's convolutions round to ten bits of mantissa by default, which is far outside every golden tolerance.
        torch.backends.cudnn.allow_tf32 = False
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._members = []
        for member in spec.members:
            module = build(
                member.architecture,
                member.params,
                image=spec.image,
                columns=len(spec.columns),
                classes=len(spec.classes),
            )
            try:
                module.load_state_dict(load_file(directory / member.file))
            except (SafetensorError, RuntimeError) as error:
                expected = f"the weights of {member.architecture}"
                raise BundleCorrupt(directory, member.file, "other tensors", expected) from error
            self._members.append(Answering(module).eval().to(self._device))

    def run(self, inputs: Inputs) -> Outputs:
        """Return the answers."""
        import torch

        with torch.inference_mode():
            tensors = {name: torch.tensor(array, device=self._device) for name, array in inputs.items()}
            return _mean([member(**tensors).float().cpu().numpy() for member in self._members])


class LightgbmEngine:
    """Gradient-boosted trees in LightGBM's text format; the members of an ensemble are averaged."""

    def __init__(self, directory: Path, spec: BundleSpec, threads: int) -> None:
        from sextant_serving.architectures.gradient_boosting import Trees

        self._members = []
        for member in spec.members:
            try:
                trees = Trees.from_text((directory / member.file).read_text(encoding="utf-8"), threads=threads)
            except ValueError as error:  # which the error of undecodable bytes is too
                raise BundleCorrupt(directory, member.file, "what LightGBM refuses", "its text format") from error
            found, expected = (trees.columns, trees.outputs), (len(spec.columns), len(spec.classes) or 1)
            if found != expected:
                names = "trees over {} columns with {} outputs"
                raise BundleCorrupt(directory, member.file, names.format(*found), names.format(*expected))
            self._members.append(trees)

    def run(self, inputs: Inputs) -> Outputs:
        """Return the answers."""
        return _mean([member.answers(inputs["features"]) for member in self._members])


def _variant(name: str, module: str = "engine_variants") -> Callable[[Path, BundleSpec, int], Engine]:
    """Return the loader of a class in a module of this package, which the first bundle that needs it imports."""

    def load(directory: Path, spec: BundleSpec, threads: int) -> Engine:
        engine: Engine = getattr(import_module(f"sextant_serving.{module}"), name)(directory, spec, threads)
        return engine

    return load


KINDS: Mapping[str, Callable[[Path, BundleSpec, int], Engine]] = {
    "onnx": OnnxEngine,
    "torch-safetensors": TorchEngine,
    "lightgbm": LightgbmEngine,
    "torch-channels-last": _variant("ChannelsLastEngine"),
    "torch-bf16": _variant("Bfloat16Engine"),
    "torch-cuda-graphs": _variant("CudaGraphEngine", "cuda_engine"),
    "torch-cuda-graphs-bf16": _variant("HalfCudaGraphEngine", "cuda_engine"),
    "openvino": _variant("OpenvinoEngine"),
}


def _mean(outputs: list[Outputs]) -> Outputs:
    return outputs[0] if len(outputs) == 1 else np.mean(outputs, axis=0, dtype=np.float32)


def check_golden(engine: Engine, directory: Path, spec: BundleSpec) -> None:
    """Replay the bundle's golden requests on `engine`.

    Raises BundleCorrupt if an answer is off by more than `spec.golden_tolerance`, or not comparable.
    """
    with np.load(directory / GOLDEN_FILE, allow_pickle=False) as golden:
        inputs = {name: golden[name] for name in golden.files if name != spec.answer}
        expected = golden[spec.answer]
    try:
        found = engine.run(inputs)
    except Exception as error:  # each engine's library has its own class for inputs that do not fit
        raise BundleCorrupt(directory, GOLDEN_FILE, "requests that the model refuses", "its own inputs") from error
    if found.shape != expected.shape:
        raise BundleCorrupt(directory, GOLDEN_FILE, f"outputs of shape {expected.shape}", f"shape {found.shape}")
    off = float(np.abs(found - expected).max(initial=0.0))
    if not off <= spec.golden_tolerance:
        limit = f"a tolerance of {spec.golden_tolerance:g}"
        raise BundleCorrupt(directory, GOLDEN_FILE, f"outputs that the model misses by {off:.3g}", limit)
