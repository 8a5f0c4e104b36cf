"""What a fit works towards, and how two models' answers compare: classes on one side, numbers on the other.

Training, search and evaluation ask an objective and never whether the labels are numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sextant_components.evidence.metrics import accuracy, paired_gain
from sextant_plan.bounds import Groups, mean, size_mean
from sextant_plan.catalogue import PAIRED_BOUND, PAIRED_MEAN_BOUND
from sextant_plan.verdicts import Estimate

if TYPE_CHECKING:
    import torch

    from sextant_serving.architectures import Network

Outputs = NDArray[np.float32]
"""What a model answers, shape (rows, classes) of probabilities or (rows, 1) of numbers in the label's unit."""
Merit = NDArray[Any]
"""How good each row's answer is, shape (rows,): whether it is right, or the absolute error with its sign turned."""


class Objective(Protocol):
    """How the answers of one kind are learned, judged and compared."""

    score_name: str
    better: str
    """What a better model is, for a sentence such as `the model is more accurate than the baseline`."""
    bound: str
    """Where the bounds of a gain come from."""
    loss_unit: str

    @property
    def scale(self) -> float:
        """What an error of an answer is compared with."""

    def fit_scale(self, network: Network) -> None:
        """Tell a new network the labels' scale, if its answers have one."""

    def torch_loss(
        self, network: Network, raw: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the mean loss of a network's raw outputs; `weights` are those of the classes, if any."""

    def score(self, outputs: Outputs, labels: NDArray[Any]) -> float:
        """Return what fits are compared by: the higher, the better."""

    def loss(self, outputs: Outputs, labels: NDArray[Any]) -> float:
        """Return the mean loss of answers, comparable with `torch_loss`."""

    def merit(self, outputs: Outputs, labels: NDArray[Any]) -> Merit:
        """Return the merit of each answer."""

    def merit_of(self, said: Sequence[Any], truth: Sequence[Any]) -> Merit:
        """Return the merit of answers that are labels themselves, as a rule gives them."""

    def gain(self, one: Merit, other: Merit, confidence: float, groups: Groups = None) -> Estimate:
        """Return how much better the first is on the same rows, with bounds; `groups` has the rows' groups."""

    level_name: str
    """What `level` returns, in words."""

    def level(self, merit: Merit, confidence: float, groups: Groups = None) -> Estimate:
        """Return how good the answers are on their own: what a curve over age or a window shows."""


class Classes:
    """Classes by cross-entropy, compared by how often they are right."""

    score_name, better, bound, loss_unit = "accuracy", "more accurate", PAIRED_BOUND, "nats"
    level_name, scale = "accuracy", 1.0

    def fit_scale(self, network: Network) -> None:
        """Do nothing: probabilities have no scale."""

    def torch_loss(
        self,
        network: Network,  # noqa: ARG002
        raw: torch.Tensor,
        labels: torch.Tensor,
        weights: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return the mean cross-entropy, in nats."""
        import torch

        return torch.nn.functional.cross_entropy(raw, labels, weight=weights)

    def score(self, outputs: Outputs, labels: NDArray[Any]) -> float:
        """Return the share of rows whose most probable class is the label."""
        return float(self.merit(outputs, labels).mean())

    def loss(self, outputs: Outputs, labels: NDArray[Any]) -> float:
        """Return the mean cross-entropy, in nats."""
        chosen = outputs[np.arange(len(labels)), labels].astype(np.float64)
        return float(-np.log(np.maximum(chosen, 1e-12)).mean())

    def merit(self, outputs: Outputs, labels: NDArray[Any]) -> Merit:
        """Return whether the most probable class is the label."""
        return np.asarray(outputs.argmax(axis=1) == labels)

    def merit_of(self, said: Sequence[Any], truth: Sequence[Any]) -> Merit:
        """Return whether a label was said that is the true one."""
        return np.asarray([one == label for one, label in zip(said, truth, strict=True)], dtype=np.bool_)

    def gain(self, one: Merit, other: Merit, confidence: float, groups: Groups = None) -> Estimate:
        """Return the difference of accuracy on the same rows."""
        return paired_gain(one, other, confidence, groups)

    def level(self, merit: Merit, confidence: float, groups: Groups = None) -> Estimate:
        """Return the accuracy."""
        return accuracy(merit, confidence, groups)


class SoftClasses(Classes):
    """Classes that are learned from a probability of each, as another model gives them, and judged by labels."""

    def torch_loss(
        self,
        network: Network,  # noqa: ARG002
        raw: torch.Tensor,
        labels: torch.Tensor,
        weights: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return the mean cross-entropy with the given probabilities, in nats; labels have shape (rows, classes)."""
        import torch

        return torch.nn.functional.cross_entropy(raw, labels.to(raw.dtype), weight=weights)


@dataclass(frozen=True)
class Numbers:
    """Numbers by squared error in units of the training labels' spread, compared by their absolute errors."""

    middle: float
    spread: float

    score_name, better, bound = "r_squared", "closer to the label", PAIRED_MEAN_BOUND
    loss_unit = "squared standard deviations of the label"
    level_name = "mean absolute error"

    @property
    def scale(self) -> float:
        """The standard deviation of the training labels."""
        return self.spread

    @classmethod
    def of(cls, labels: NDArray[Any]) -> Numbers:
        """Return the objective of these training labels, which are not all the same."""
        return cls(float(labels.mean()), float(labels.std()) or 1.0)

    def fit_scale(self, network: Network) -> None:
        """Let the network's raw output 0 mean the training labels' mean, and 1 one standard deviation above it."""
        network.fit_target(self.middle, self.spread)

    def torch_loss(
        self, network: Network, raw: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the mean squared error in squared standard deviations of the training labels."""
        import torch

        assert weights is None
        wanted = ((labels - network.target_mean) / network.target_std).to(raw.dtype)
        return torch.nn.functional.mse_loss(raw[:, 0], wanted)

    def score(self, outputs: Outputs, labels: NDArray[Any]) -> float:
        """Return the share of the labels' variance that the answers explain; negative if the mean explains more."""
        return 1 - self.loss(outputs, labels) * self.spread**2 / float(labels.var() or 1.0)

    def loss(self, outputs: Outputs, labels: NDArray[Any]) -> float:
        """Return the mean squared error in squared standard deviations of the training labels."""
        return float((((outputs[:, 0] - labels) / self.spread) ** 2).mean())

    def merit(self, outputs: Outputs, labels: NDArray[Any]) -> Merit:
        """Return the absolute error with its sign turned, in the label's unit."""
        return np.asarray(-np.abs(outputs[:, 0].astype(np.float64) - labels))

    def merit_of(self, said: Sequence[Any], truth: Sequence[Any]) -> Merit:
        """Return the absolute error of what was said with its sign turned, in the label's unit."""
        return -np.abs(np.asarray(said, dtype=np.float64) - np.asarray(truth, dtype=np.float64))

    def gain(self, one: Merit, other: Merit, confidence: float, groups: Groups = None) -> Estimate:
        """Return by how much the mean absolute error is smaller on the same rows, in the label's unit."""
        return mean(one - other, confidence, groups)

    def level(self, merit: Merit, confidence: float, groups: Groups = None) -> Estimate:
        """Return the mean absolute error, in the label's unit."""
        return size_mean(-merit, confidence, groups)


def objective_of(labels: NDArray[Any]) -> Objective:
    """Return the objective that fits training labels: class indices, probabilities of classes, or numbers."""
    if labels.ndim == 2:
        return SoftClasses()
    return Numbers.of(labels) if labels.dtype.kind == "f" else Classes()
