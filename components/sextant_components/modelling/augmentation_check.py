"""Whether the pictures that training makes of a picture still show what its label says, before anything is fitted.

An augmentation that washes pictures out, or mirrors letters, teaches a network what is not so, and the loss falls all
the same. A quick model that was never taught by it is the witness.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sextant_components.evidence.metrics import paired_gain
from sextant_components.modelling import augmentation
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.training import repeatable
from sextant_plan.bounds import proportion
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import Augmentation
from sextant_plan.verdicts import Verdict

CONFIDENCE = 0.95
MOST_ROWS = 800
SIDE = 16  # pixels; enough to tell shapes apart, and the neighbours of 400 rows in 400 are found in milliseconds
MOST_LOST = 0.5  # of what the quick model knows beyond the largest class
TASK = "augmentation keeps labels"


def record_augmentation(ledger: LedgerWriter, train: Examples, kinds: Sequence[Augmentation], *, seed: int = 0) -> None:
    """Judge the augmentation by nearest neighbours: half of some training rows teaches, the other half is asked.

    The rows asked are shown plain and augmented. It fails once it is proved that more than half of what the neighbours
    know beyond the largest class is lost; where they know nothing it is told and does not count.
    """
    if "image" not in train.inputs or not kinds:
        return
    rows = train.spread(MOST_ROWS)
    order = np.random.default_rng(seed).permutation(len(rows))  # `spread` deals the classes out in turn
    taught, asked = rows.take(order[: len(rows) // 2]), rows.take(order[len(rows) // 2 :])
    plain, changed = asked.inputs["image"], _changed(asked.inputs["image"], kinds, seed)
    right, still = (
        _labels_of_nearest(_shape_of(taught.inputs["image"]), taught.labels, _shape_of(shown)) == asked.labels
        for shown in (plain, changed)
    )
    largest = float(np.bincount(asked.labels).max() / len(asked))
    clean = proportion(int(right.sum()), len(asked), CONFIDENCE)
    knows = clean.low > largest
    lost = paired_gain(right, still, CONFIDENCE)
    allowed = MOST_LOST * max(clean.value - largest, 0.0)
    ledger.record(
        TASK,
        requirement="an augmented picture still shows what its label says",
        risk="a network is taught pictures that mean something else, and learns less than the data holds",
        qa_method=f"nearest neighbour among {len(taught)} plain training pictures, for {len(asked)} others plain and "
        f"augmented; {MOST_LOST:.0%} of the accuracy beyond the largest class may be lost, by a paired bound",
        verdict=Verdict.FAIL if knows and lost.low > allowed else Verdict.PASS if knows else Verdict.UNKNOWN,
        value={
            "largest_class": round(largest, 6),
            "plain": round(clean.value, 6),
            "augmented": round(float(still.mean()), 6),
        },
        counts=knows,
    )


def _changed(pictures: NDArray[np.uint8], kinds: Sequence[Augmentation], seed: int) -> NDArray[np.uint8]:
    import torch

    with repeatable(seed):
        changed: NDArray[np.uint8] = augmentation.augmented(torch.from_numpy(pictures.copy()), kinds).numpy()
        return changed


def _shape_of(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return small pictures as rows of numbers without their brightness and contrast, shape (rows, numbers)."""
    steps = [max(1, -(-side // SIDE)) for side in pictures.shape[1:3]]
    small = pictures[:, :: steps[0], :: steps[1]].reshape(len(pictures), -1).astype(np.float64)
    small -= small.mean(axis=1, keepdims=True)
    shape: NDArray[np.float64] = small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-9)
    return shape


def _labels_of_nearest(
    known: NDArray[np.float64], labels: NDArray[np.int64], asked: NDArray[np.float64]
) -> NDArray[np.int64]:
    nearest: NDArray[np.int64] = labels[(asked @ known.T).argmax(axis=1)]
    return nearest
