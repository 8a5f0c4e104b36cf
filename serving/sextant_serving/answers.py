"""How a model's answers are told: by class with its probability, or as a number.

Codecs, counters and logs ask a model's form and never whether it has classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sextant_plan.bundle import PROBABILITIES, VALUE, BundleSpec
from sextant_plan.catalogue import PREDICTED_CLASS
from sextant_plan.feedback import Outcome, is_number
from sextant_plan.reference import FeatureReference, Reference
from sextant_serving.tensors import OutputTensor

if TYPE_CHECKING:
    from sextant_serving.rows import Answer

LABEL = "label"


class AnswerForm(Protocol):
    """What the answers of one kind look like outside the engine."""

    outputs: tuple[str, ...]
    """The tensors of an Open Inference Protocol response unless the request names its own."""
    counted: Sequence[str]
    """The values of the label `class` under which rows are counted."""

    def best(self, outputs: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the place in `counted` of each row, shape (rows,)."""

    def confidence(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each row's answer, shape (rows,); not a number where it has none."""

    def unsure(self, outputs: NDArray[np.float32], below: float) -> NDArray[np.bool_]:
        """Return where the plan wants no answer, because its probability is too low."""

    def drifting(self, outputs: NDArray[np.float32]) -> NDArray[Any]:
        """Return what is counted into the bins of `reference`, shape (rows,)."""

    def reference(self, reference: Reference) -> FeatureReference:
        """Return how the training rows spread over what the model answers."""

    def labels(self, answer: Answer) -> list[str | None]:
        """Return each answer as text, as a label that comes back is compared with it; None where it abstains."""

    def places(self, labels: Sequence[str]) -> NDArray[Any]:
        """Return what `drifting` gave for answers of which only `labels` are left, shape (rows,)."""

    def takes(self, label: str) -> bool:
        """Tell whether a label that came back can be the truth of such an answer."""

    def met(self, predicted: str, label: str) -> Outcome:
        """Return how a label that came back meets its prediction."""

    def tensor(self, name: str, answer: Answer) -> OutputTensor:
        """Return one of `outputs`; the label of an abstained row is the empty text."""

    def described(self, answer: Answer) -> list[dict[str, Any]]:
        """Return each answer as JSON values of a v1 prediction."""

    def metadata(self) -> list[dict[str, Any]]:
        """Return the metadata of `outputs`, -1 standing for rows."""

    def schema(self) -> dict[str, dict[str, Any]]:
        """Return the JSON schemas of what `described` gives."""


class ClassForm:
    """Probabilities of the classes, and the most probable of them as the label."""

    outputs: tuple[str, ...] = (PROBABILITIES, LABEL)

    def __init__(self, classes: Sequence[str]) -> None:
        self.counted: Sequence[str] = classes
        self._classes = classes

    def best(self, outputs: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the most probable class of each row."""
        found: NDArray[np.intp] = outputs.argmax(axis=1)
        return found

    def confidence(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of the most probable class."""
        found: NDArray[np.float32] = outputs.max(axis=1)
        return found

    def unsure(self, outputs: NDArray[np.float32], below: float) -> NDArray[np.bool_]:
        """Return where the most probable class is not probable enough, or its probability is no number."""
        return ~(self.confidence(outputs) >= below)

    def drifting(self, outputs: NDArray[np.float32]) -> NDArray[Any]:
        """Return the most probable class."""
        return self.best(outputs)

    def reference(self, reference: Reference) -> FeatureReference:
        """Return the training rows by class; a bin is a class's place."""
        counts = [reference.classes.get(name, 0) for name in self._classes]
        return FeatureReference(name=PREDICTED_CLASS, edges=list(range(1, len(counts))), counts=counts)

    def labels(self, answer: Answer) -> list[str | None]:
        """Return the most probable class by its name."""
        rows = zip(answer.best.tolist(), answer.abstained.tolist(), strict=True)
        return [None if abstained else self._classes[best] for best, abstained in rows]

    def places(self, labels: Sequence[str]) -> NDArray[Any]:
        """Return each class's place."""
        place = {name: index for index, name in enumerate(self._classes)}
        return np.array([place[label] for label in labels], dtype=np.intp)

    def takes(self, label: str) -> bool:  # noqa: ARG002
        """Return that any can: the truth may be a class that the model never learned."""
        return True

    def met(self, predicted: str, label: str) -> Outcome:
        """Return whether both are the same class."""
        return "agree" if predicted == label else "disagree"

    def tensor(self, name: str, answer: Answer) -> OutputTensor:
        """Return the probabilities or the labels."""
        if name == PROBABILITIES:
            return OutputTensor(name, "FP32", answer.outputs)
        return OutputTensor(name, "BYTES", [label or "" for label in self.labels(answer)])

    def described(self, answer: Answer) -> list[dict[str, Any]]:
        """Return label, its probability and those of all classes."""
        rows = zip(self.labels(answer), answer.best.tolist(), answer.outputs.tolist(), strict=True)
        return [
            {
                "label": label,
                "probability": shares[best],
                "probabilities": dict(zip(self._classes, shares, strict=True)),
            }
            for label, best, shares in rows
        ]

    def metadata(self) -> list[dict[str, Any]]:
        """Return probabilities and label."""
        return [
            {"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, len(self._classes)]},
            {"name": LABEL, "datatype": "BYTES", "shape": [-1]},
        ]

    def schema(self) -> dict[str, dict[str, Any]]:
        """Return those of label, probability and probabilities."""
        number = {"type": "number"}
        return {
            "label": {"type": ["string", "null"]},
            "probability": number,
            "probabilities": {"type": "object", "additionalProperties": number},
        }


class NumberForm:
    """A number in the label's unit; it comes without a probability, and is withheld only for want of features."""

    outputs: tuple[str, ...] = (VALUE,)
    counted: Sequence[str] = ("number",)

    def best(self, outputs: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the only place there is."""
        return np.zeros(len(outputs), dtype=np.intp)

    def confidence(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return that there is none."""
        return np.full(len(outputs), np.nan, dtype=np.float32)

    def unsure(self, outputs: NDArray[np.float32], below: float) -> NDArray[np.bool_]:  # noqa: ARG002
        """Return where the answer is not finite; a number has no probability to be unsure by."""
        return ~np.isfinite(outputs[:, 0])

    def drifting(self, outputs: NDArray[np.float32]) -> NDArray[Any]:
        """Return the numbers themselves."""
        return outputs[:, 0]

    def reference(self, reference: Reference) -> FeatureReference:
        """Return the quantiles of the training labels."""
        return reference.prediction or FeatureReference(name=PREDICTED_CLASS, edges=[], counts=[0])

    def labels(self, answer: Answer) -> list[str | None]:
        """Return the numbers as text that reads back as the same float32."""
        rows = zip(answer.outputs[:, 0], answer.abstained.tolist(), strict=True)
        return [None if abstained else str(value) for value, abstained in rows]

    def places(self, labels: Sequence[str]) -> NDArray[Any]:
        """Return the numbers."""
        return np.array([float(label) for label in labels], dtype=np.float64)

    def takes(self, label: str) -> bool:
        """Return whether it is a finite number."""
        return is_number(label)

    def met(self, predicted: str, label: str) -> Outcome:  # noqa: ARG002
        """Return that the log holds both: a number is neither right nor wrong."""
        return "measured"

    def tensor(self, name: str, answer: Answer) -> OutputTensor:
        """Return the numbers, rows x 1."""
        return OutputTensor(name, "FP32", answer.outputs)

    def described(self, answer: Answer) -> list[dict[str, Any]]:
        """Return the number, null where it is withheld."""
        rows = zip(answer.outputs[:, 0].tolist(), answer.abstained.tolist(), strict=True)
        return [{"value": None if abstained else value} for value, abstained in rows]

    def metadata(self) -> list[dict[str, Any]]:
        """Return the number."""
        return [{"name": VALUE, "datatype": "FP32", "shape": [-1, 1]}]

    def schema(self) -> dict[str, dict[str, Any]]:
        """Return that of the number."""
        return {"value": {"type": ["number", "null"]}}


def form_of(spec: BundleSpec) -> AnswerForm:
    """Return the form of a bundle's answers."""
    return ClassForm(spec.classes) if spec.classes else NumberForm()
