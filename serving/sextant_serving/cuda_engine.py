"""PyTorch on an NVIDIA GPU without its cost a call: whole batches recorded once as CUDA graphs and replayed."""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sextant_plan.bundle import BundleSpec
from sextant_plan.errors import InfrastructureError
from sextant_serving.engines import Inputs, Outputs, TorchEngine

if TYPE_CHECKING:
    import torch

WARM_UPS = 3  # runs before a recording, in which libraries choose their algorithms and take their memory


class CudaGraphEngine(TorchEngine):
    """Networks whose copies to the GPU, kernels and copy back are one replayed graph for each batch size.

    Launching a small network's kernels one by one takes the CPU longer than they run; a graph is launched at once. It
    reads and writes fixed places: pinned memory, which the GPU copies without the CPU. A batch is filled up to the
    next of `serving.batch_sizes`, or of the powers of two up to `max_rows`. The sizes share their scratch memory.
    Source: CUDA C++ Programming Guide, CUDA Graphs; PyTorch's notes on CUDA semantics.
    """

    half = False  # whether products and convolutions are computed in bfloat16

    def __init__(self, directory: Path, spec: BundleSpec, threads: int) -> None:
        import torch

        if not torch.cuda.is_available():
            raise InfrastructureError(
                f"{directory}: the bundle's engine is {spec.engine}, and no NVIDIA GPU is to be seen here. Serve "
                "it on a node with one (serving.hardware.gpu: 1), or take another of model.engines."
            )
        super().__init__(directory, spec, threads)
        if self.half:
            for member in self._members:
                _halve_weights(member)
        self._sizes = spec.serving.batch_sizes or powers_of_two(spec.serving.max_rows)
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._memory = torch.cuda.graph_pool_handle()
        self._recorded: dict[int, _Recording] = {}
        # The largest first: what it takes is enough for the others.
        for size in reversed(self._sizes):
            self._recorded[size] = self._record(spec, size)

    def run(self, inputs: Inputs) -> Outputs:
        """Return the answers; of more rows than the largest size, batch by batch."""
        rows, most = len(next(iter(inputs.values()))), self._sizes[-1]
        if rows > most:
            parts = range(0, rows, most)
            return np.concatenate([self.run({k: v[i : i + most] for k, v in inputs.items()}) for i in parts])
        return self._recorded[self._sizes[bisect_left(self._sizes, rows)]].replay(inputs, rows)

    def _record(self, spec: BundleSpec, size: int) -> _Recording:
        import torch

        places: dict[str, torch.Tensor] = {}
        if spec.image:
            shape = (size, spec.image.height, spec.image.width, spec.image.channels)
            places["image"] = torch.zeros(shape, dtype=torch.uint8, pin_memory=True)
        if spec.columns:
            places["features"] = torch.zeros((size, len(spec.columns)), dtype=torch.float32, pin_memory=True)
        answers = torch.zeros((size, len(spec.classes) or 1), dtype=torch.float32, pin_memory=True)
        graph = torch.cuda.CUDAGraph()

        def whole_batch() -> None:
            moved = {name: place.to(self._device, non_blocking=True) for name, place in places.items()}
            # Without its cache, whose copies of weights a recording must not share with another.
            with torch.autocast("cuda", torch.bfloat16, enabled=self.half, cache_enabled=False):
                found = torch.stack([member(**moved).float() for member in self._members])
            answers.copy_(found.mean(dim=0), non_blocking=True)

        with torch.inference_mode():
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UPS):
                    whole_batch()
            self._stream.synchronize()
            with torch.cuda.graph(graph, pool=self._memory, stream=self._stream):
                whole_batch()
        return _Recording(graph, self._stream, {name: place.numpy() for name, place in places.items()}, answers.numpy())


class HalfCudaGraphEngine(CudaGraphEngine):
    """The same in bfloat16 and with the weights of convolutions by pixel, which tensor cores read as they are."""

    half = True


class _Recording:
    """One batch size's graph with the pinned arrays that it reads and writes."""

    def __init__(
        self,
        graph: torch.cuda.CUDAGraph,
        stream: torch.cuda.Stream,
        places: dict[str, NDArray[np.generic]],
        answers: NDArray[np.float32],
    ) -> None:
        self._graph, self._stream, self._places, self._answers = graph, stream, places, answers

    def replay(self, inputs: Inputs, rows: int) -> Outputs:
        """Return the answers of the first `rows`; those behind them hold what an earlier batch left."""
        import torch

        for name, place in self._places.items():
            place[:rows] = inputs[name]
        with torch.cuda.stream(self._stream):
            self._graph.replay()
        self._stream.synchronize()
        return self._answers[:rows].copy()


def _halve_weights(network: torch.nn.Module) -> None:
    """Keep the weights of products and convolutions in bfloat16, so that no batch converts them again."""
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.to(torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
        elif isinstance(module, torch.nn.Linear):
            module.to(torch.bfloat16)


def powers_of_two(most: int) -> list[int]:
    """Return 1, 2, 4 and so on below `most`, and `most`."""
    return [1 << power for power in range((most - 1).bit_length())] + [most]
