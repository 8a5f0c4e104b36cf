"""Batches recorded as CUDA graphs: the sizes they are recorded for, what is said without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sextant_plan.bundle import read_bundle
from sextant_plan.errors import InfrastructureError
from sextant_serving.cuda_engine import powers_of_two
from sextant_serving.engines import load_engine

MakeBundle = Callable[..., Path]


@given(most=st.integers(1, 1024))
def test_sizes_rise_to_the_largest_batch_and_waste_less_than_half_of_it(most: int) -> None:
    """Each is at most double the one before, so that a batch is filled up by less than its own rows."""
    sizes = powers_of_two(most)
    assert (sizes[0], sizes[-1]) == (1, most)
    assert all(low < high <= 2 * low for low, high in pairwise(sizes))


def test_without_a_gpu_the_error_says_what_to_do(make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle for a GPU that lands on a node without one does not fall back to something slower in silence."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    bundle = make_bundle()
    with pytest.raises(InfrastructureError, match=r"no NVIDIA GPU.*serving\.hardware\.gpu: 1"):
        load_engine(bundle, read_bundle(bundle).model_copy(update={"engine": "torch-cuda-graphs"}))
