"""Other ways to run the same files: memory laid out by pixel, half precision where it is safe, and OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_plan.bundle import BundleSpec
from sextant_plan.errors import BundleCorrupt, InfrastructureError
from sextant_serving.engines import Inputs, TorchEngine


class ChannelsLastEngine(TorchEngine):
    """Eager PyTorch with the weights of convolutions in the order in which pictures arrive."""

    def __init__(self, directory: Path, spec: BundleSpec, threads: int) -> None:
        import torch

        super().__init__(directory, spec, threads)
        self._members = [member.to(memory_format=torch.channels_last) for member in self._members]


class Bfloat16Engine(TorchEngine):
    """Eager PyTorch whose matrix products and convolutions are computed in bfloat16, by torch's autocast."""

    def run(self, inputs: Inputs) -> NDArray[np.float32]:
        """Return the answers."""
        import torch

        with torch.autocast(self._device.type, torch.bfloat16):
            return super().run(inputs)


class OpenvinoEngine:
    """The bundle's ONNX files compiled for this processor by OpenVINO; members are averaged."""

    def __init__(self, directory: Path, spec: BundleSpec, threads: int) -> None:
        try:
            import openvino
        except ImportError as error:
            raise InfrastructureError(
                f"{directory}: the bundle's engine is OpenVINO, which is not installed here. Install openvino in the "
                "serving image, or take another of model.engines."
            ) from error
        core = openvino.Core()
        # Whole-number threads and full precision, so that it computes what the other engines do.
        options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        self._requests: list[Any] = []
        for member in spec.members:
            try:
                compiled = core.compile_model(core.read_model(directory / member.file), "CPU", options)
            except RuntimeError as error:
                raise BundleCorrupt(directory, member.file, "what OpenVINO refuses", "ONNX") from error
            self._requests.append(compiled.create_infer_request())

    def run(self, inputs: Inputs) -> NDArray[np.float32]:
        """Return the answers."""
        found = [np.array(request.infer(dict(inputs))[0], dtype=np.float32) for request in self._requests]
        return found[0] if len(found) == 1 else np.mean(found, axis=0, dtype=np.float32)
