"""The trained model between `train` and `optimise`: `model.json` beside the weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from sextant_components.modelling.checkpoints import Epoch
from sextant_components.modelling.training import Fitted, Shape
from sextant_components.modelling.tuning import Trial
from sextant_plan.bundle import Column
from sextant_plan.errors import InfrastructureError
from sextant_plan.schema import Closed, ImageInput
from sextant_serving.architectures import GRADIENT_BOOSTING, build

if TYPE_CHECKING:
    from sextant_components.modelling.training import Learned

MODEL_FILE = "model.json"
WEIGHTS_FILES = {"network": "model.safetensors", "trees": "model.lightgbm.txt"}


class SeedResult(Closed):
    """One of the k fits of the chosen settings."""

    seed: int
    valid_score: float
    valid_loss: float


class TrainedModel(Closed):
    """The contents of model.json; `image` and `columns` are those that the architecture reads."""

    schema_version: Literal[1] = 1
    architecture: str
    params: dict[str, int | float | str | bool]
    classes: list[str]
    image: ImageInput | None
    columns: list[Column]
    learning_rate: float
    weight_decay: float
    seed: int
    spread: float = 1.0  # the standard deviation of training labels that are numbers: what an error is compared with
    history: list[Epoch]
    trials: list[Trial]
    seeds: list[SeedResult]
    members: int = 1  # how many fits of these settings answer together


def write_model(
    folder: Path,
    members: Sequence[Fitted],
    shape: Shape,
    trials: list[Trial],
    seeds: list[SeedResult],
    *,
    spread: float = 1.0,
) -> None:
    """Write one fit, or several of the same settings that answer together, the best first, and how they came about.

    The description is written last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fitted = members[0]
    reads = fitted.network.reads
    described = TrainedModel(
        architecture=fitted.settings.architecture,
        params=dict(fitted.settings.params),
        classes=shape.classes,
        image=shape.image if "image" in reads else None,
        columns=shape.columns if "features" in reads else [],
        learning_rate=fitted.settings.learning_rate,
        weight_decay=fitted.settings.weight_decay,
        seed=fitted.settings.seed,
        spread=spread,
        history=fitted.history,
        trials=trials,
        seeds=seeds,
        members=len(members),
    )
    for number, member in enumerate(members):
        save_weights(member.network, folder / numbered(_weights_file(described), number))
    (folder / MODEL_FILE).write_text(described.model_dump_json(indent=1) + "\n", encoding="utf-8")


def save_weights(learned: Learned, path: Path) -> None:
    """Write a network's weights as safetensors, or trees in LightGBM's text format."""
    from sextant_serving.architectures.gradient_boosting import Trees

    if isinstance(learned, Trees):
        learned.save(path)
        return
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in learned.state_dict().items()}, str(path))


def numbered(file: str, number: int) -> str:
    """Return a member's file, counted from 0: `model.onnx`, then `model-2.onnx`."""
    stem, dot, kind = file.partition(".")
    return f"{stem}-{number + 1}{dot}{kind}" if number else file


def _weights_file(model: TrainedModel) -> str:
    return WEIGHTS_FILES["trees" if model.architecture == GRADIENT_BOOSTING else "network"]


def read_model(folder: Path) -> TrainedModel:
    """Read model.json. Raises InfrastructureError if the train step did not finish writing it."""
    try:
        return TrainedModel.model_validate_json((folder / MODEL_FILE).read_bytes())
    except (FileNotFoundError, ValidationError) as error:
        raise InfrastructureError(f"{folder / MODEL_FILE}: no trained model here. Run the train step again.") from error


def load_members(folder: Path, model: TrainedModel) -> list[Learned]:
    """Return the trained networks or trees that answer together, ready to predict; most often it is one."""
    return [_load(folder / numbered(_weights_file(model), number), model) for number in range(model.members)]


def _load(weights: Path, model: TrainedModel) -> Learned:
    if model.architecture == GRADIENT_BOOSTING:
        from sextant_serving.architectures.gradient_boosting import Trees

        return Trees.from_text(weights.read_text(encoding="utf-8"))
    from safetensors.torch import load_file

    network = build(
        model.architecture,
        model.params,
        image=model.image,
        columns=len(model.columns),
        classes=len(model.classes),
    )
    network.load_state_dict(load_file(str(weights)))
    network.eval()
    return network
