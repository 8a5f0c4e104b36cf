"""Engines that are measured and not served: `torch.compile` and AOTInductor.

Both write machine code for this processor by a C++ compiler. A bundle holds weights and graphs, no code, and a server
that compiles at its start is ready minutes later; so their speed is shown, and the choice is among the others
(docs/adr/0023).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sextant_components.modelling.tensors import Inputs
from sextant_components.modelling.training import tensors_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sextant_serving.architectures import Network


class CompiledEngine:
    """A compiled module that answers as a served engine does."""

    def __init__(self, module: Callable[..., Tensor], reads: tuple[str, ...]) -> None:
        self._module, self._reads = module, reads

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return the probabilities, shape (rows, classes)."""
        import torch

        with torch.inference_mode(), _one_thread():
            found: NDArray[np.float32] = self._module(**tensors_of(dict(inputs), self._reads)).numpy()
            return found


def compile_network(name: str, network: Network, folder: Path, example: Inputs) -> CompiledEngine:
    """Compile the network with its softmax for any number of rows from two up, and for one.

    Raises whatever torch raises where there is no C++ compiler, or the network cannot be traced.
    """
    import torch
    import torch._inductor.config

    from sextant_serving.architectures import Answering

    module = Answering(network).eval()
    tensors = tensors_of({name: example[name] for name in network.reads}, network.reads)
    with torch.inference_mode(), _one_thread(), torch._inductor.config.patch(compile_threads=1):
        run = BUILDERS[name](module, tensors, folder)
        engine = CompiledEngine(run, network.reads)
        for rows in (1, 2):
            engine.run({each: array[:rows] for each, array in example.items()})
    return engine


def _by_torch_compile(module: nn.Module, _tensors: Mapping[str, Tensor], _folder: Path) -> Callable[..., Tensor]:
    import torch

    compiled: Callable[..., Tensor] = torch.compile(module, dynamic=True)
    return compiled


def _by_aot_inductor(module: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> Callable[..., Tensor]:
    import torch

    rows = torch.export.Dim("rows", min=1, max=4096)
    exported = torch.export.export(
        module, (), kwargs=dict(tensors), dynamic_shapes={name: {0: rows} for name in tensors}
    )
    folder.mkdir(parents=True, exist_ok=True)
    package = torch._inductor.aoti_compile_and_package(exported, package_path=str(folder / "model.pt2"))
    loaded: Callable[..., Tensor] = torch._inductor.aoti_load_package(package)
    return loaded


BUILDERS: Mapping[str, Callable[[Any, Mapping[str, Any], Path], Callable[..., Any]]] = {
    "torch-compile": _by_torch_compile,
    "aot-inductor": _by_aot_inductor,
}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread, as every engine is measured, and leave torch's setting as it was."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
