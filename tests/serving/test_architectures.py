"""The networks: what a plan may name, what they read, and that scaling is part of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from sextant_plan.schema import ImageInput
from sextant_serving.architectures import GRADIENT_BOOSTING, Answering, ArchitectureMisfit, Network, build, names
from sextant_serving.architectures._convolutions import Convolutions

IMAGE = ImageInput(height=12, width=10, channels=3)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _rows(rows: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (rows, 12, 10, 3), dtype=torch.uint8, generator=generator)
    return {"image": image, "features": torch.randn(rows, 4, generator=generator)}


def _build(name: str) -> Network:
    return build(name, {}, image=IMAGE, columns=4, classes=3).eval()


def _settled(network: Network, rows: dict[str, torch.Tensor]) -> Network:
    """Return the network with normalisations that fit the rows: without, deep ones let no difference through."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(**rows)
    return network.eval()


def test_naming_the_architectures_loads_no_torch() -> None:
    """A plan is checked without the seconds that torch takes."""
    program = "import sys; from sextant_serving.architectures import needs; needs(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", [name for name in names() if name != GRADIENT_BOOSTING])
def test_probabilities_of_each_row_sum_to_one(name: str) -> None:
    """Every architecture gives one row of probabilities for one row of input, whatever else is in the batch."""
    probabilities = Answering(_build(name))
    rows = _rows(5)
    with torch.inference_mode():
        whole = probabilities(**rows)
        first = probabilities(**{key: value[:1] for key, value in rows.items()})
    assert whole.shape == (5, 3)
    torch.testing.assert_close(whole.sum(dim=1), torch.ones(5))
    torch.testing.assert_close(whole[:1], first)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 31), (12, 12), (33, 47), (48, 8)])
def test_pictures_of_any_size_are_averaged_by_quarters(height: int, width: int) -> None:
    """Odd sides too: the pooling is the adaptive one, in a form that every engine can run."""
    image = ImageInput(height=height, width=width, channels=1)
    body = Convolutions(image, 4).eval()
    pixels = torch.randn(2, 1, height, width)
    torch.testing.assert_close(body(pixels), torch.nn.AdaptiveAvgPool2d(2)(body.layers(pixels)).flatten(1))


@pytest.mark.parametrize("name", [name for name in names() if name != GRADIENT_BOOSTING])
def test_inputs_that_are_not_read_do_not_matter(name: str) -> None:
    """`reads` names exactly the inputs that change the answer."""
    network, rows = _settled(_build(name), _rows(8)), _rows(4)
    changed = {
        key: network(**{**rows, key: torch.flip(value, dims=[0])}).ne(network(**rows)).any()
        for key, value in rows.items()
    }
    assert {key for key, differs in changed.items() if differs} == set(network.reads)


def test_features_in_other_units_give_the_same_answers() -> None:
    """Standardisation is part of the network: grams or kilograms make no difference once it is fitted."""
    rows = _rows(64)["features"]
    answers = []
    for factor in (1.0, 1000.0):
        torch.manual_seed(1)
        network = build("mlp", {}, image=None, columns=4, classes=3).eval()
        network.fit_scaling(rows * factor)
        answers.append(network(features=rows * factor))
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-5)


def test_a_constant_column_stays_finite() -> None:
    """A column without variance is centred and not divided by zero."""
    network = build("linear", {}, image=None, columns=2, classes=2)
    network.fit_scaling(torch.full((8, 2), 3.0))
    assert torch.isfinite(network(features=torch.tensor([[3.0, 1e30]]))).all()


@pytest.mark.parametrize(
    ("name", "params", "image", "columns"),
    [
        pytest.param("resnet", {}, IMAGE, 0, id="no-such-architecture"),
        pytest.param("mlp", {"depth": 3}, IMAGE, 0, id="no-such-parameter"),
        pytest.param("small-cnn", {}, None, 4, id="cnn-without-a-picture"),
        pytest.param("fusion", {}, IMAGE, 0, id="fusion-without-columns"),
    ],
)
def test_an_architecture_that_does_not_fit_is_refused(
    name: str, params: dict[str, int | float | str | bool], image: ImageInput | None, columns: int
) -> None:
    """The error names the candidate and what to choose instead."""
    with pytest.raises(ArchitectureMisfit, match=f"model.candidates: {name}: .*(Choose|It takes)"):
        build(name, params, image=image, columns=columns, classes=2)
