"""Faults seeded into real data, and how many of them the verify step's own checks find.

    python -m benchmarks.data_faults [--repeats 5]

Recall is the share of the seeded faults that are pointed at, precision the share of what is pointed at that was
seeded. The data ships with scikit-learn; each repeat seeds other rows.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

import click
import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from sextant_components.data.suspects.labels import label_suspects, out_of_fold
from sextant_components.data.suspects.numbers import outlier_suspects, shifted_columns
from sextant_components.data.suspects.pictures import twins
from sextant_components.monitoring.production_suspects import judged_by_answers

Found = tuple[float, float]


def score(found: Collection[object], seeded: Collection[object]) -> Found:
    """Return recall and precision of what was found."""
    hits = len(set(found) & set(seeded))
    return hits / max(1, len(set(seeded))), hits / max(1, len(set(found)))


def _digits() -> tuple[NDArray[np.uint8], list[str]]:
    from sklearn.datasets import load_digits

    found = load_digits()
    pictures = [Image.fromarray((image * 15).astype(np.uint8)) for image in found.images]
    larger = [np.asarray(picture.resize((16, 16), Image.Resampling.BILINEAR)) for picture in pictures]
    return np.stack(larger), [str(label) for label in found.target]


def flipped_labels(rng: np.random.Generator) -> Found:
    """Give 5 % of the digits another label."""
    pictures, labels = _digits()
    rows = rng.choice(len(labels), len(labels) // 20, replace=False).tolist()
    for row in rows:
        labels[row] = str((int(labels[row]) + int(rng.integers(1, 10))) % 10)
    judged = out_of_fold(pictures.reshape(len(labels), -1).astype(np.float64), labels)
    return score([suspect.row_id for suspect in label_suspects(range(len(labels)), labels, judged)], rows)


def flipped_labels_of_production(rng: np.random.Generator) -> Found:
    """Give 5 % of the digits another label, judged by the most probable class of a model that never saw them."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    pictures, truth = _digits()
    matrix = pictures.reshape(len(truth), -1) / 255.0
    model = LogisticRegression(max_iter=200)
    answers = cross_val_predict(model, matrix, truth, cv=5, method="predict_proba")
    rows = rng.choice(len(truth), len(truth) // 20, replace=False).tolist()
    labels = list(truth)
    for row in rows:
        labels[row] = str((int(truth[row]) + int(rng.integers(1, 10))) % 10)
    classes = sorted(set(labels))
    said = [classes[place] for place in answers.argmax(axis=1)]
    judged = judged_by_answers(said, answers.max(axis=1).tolist(), classes)
    return score([suspect.row_id for suspect in label_suspects(range(len(labels)), labels, judged)], rows)


def duplicates_across_splits(rng: np.random.Generator) -> Found:
    """Add 2 % of the digits again, saved anew as JPEG; a pair counts as found where the two are traced together."""
    pictures, _ = _digits()
    rows = rng.choice(len(pictures), len(pictures) // 50, replace=False).tolist()
    copies = []
    for row in rows:
        buffer = io.BytesIO()
        Image.fromarray(pictures[row]).save(buffer, "JPEG", quality=95)
        copies.append(np.asarray(Image.open(buffer)))
    found = twins(range(len(pictures) + len(rows)), np.concatenate([pictures, np.stack(copies)]))
    return score(list(found.items()), [(len(pictures) + index, row) for index, row in enumerate(rows)])


def swapped_units(rng: np.random.Generator) -> Found:
    """Write 1 % of the mean areas of the breast cancer data in a unit a thousand times smaller."""
    from sklearn.datasets import load_breast_cancer

    column = load_breast_cancer().data[:, 3].copy()
    rows = rng.choice(len(column), len(column) // 100, replace=False)
    column[rows] *= 1000
    found = outlier_suspects(list(range(len(column))), {"area": column})
    return score([suspect.row_id for suspect in found], rows.tolist())


def shifted_column(rng: np.random.Generator) -> Found:
    """Move one column of thirty by one standard deviation from the middle of the breast cancer data on."""
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer().data[rng.permutation(569)]
    columns = {f"c{index:02d}": table[:, index].copy() for index in range(30)}
    chosen = f"c{int(rng.integers(0, 30)):02d}"
    columns[chosen][285:] += columns[chosen].std()
    start = datetime(2026, 3, 1, tzinfo=UTC)
    times = pl.Series("seen", [start + timedelta(hours=row) for row in range(569)])
    return score(list(shifted_columns(times, columns)), [chosen])


FAULTS: dict[str, Callable[[np.random.Generator], Found]] = {
    "5 % of the labels flipped": flipped_labels,
    "5 % of the labels flipped that came back, judged by the model's answers": flipped_labels_of_production,
    "2 % of the pictures again, saved as JPEG": duplicates_across_splits,
    "1 % of a column in another unit": swapped_units,
    "one of 30 columns shifted by one standard deviation": shifted_column,
}


@click.command()
@click.option("--repeats", default=5, show_default=True, help="Times that each fault is seeded, into other rows.")
def main(repeats: int) -> None:
    """Print the mean and the lowest recall and precision of each fault."""
    print("| fault | recall, mean (lowest) | precision, mean (lowest) |\n|---|---|---|")
    for name, seed in FAULTS.items():
        found = [seed(np.random.default_rng(number)) for number in range(repeats)]
        figures = [f"{statistics.mean(part):.3f} ({min(part):.3f})" for part in zip(*found, strict=True)]
        print(f"| {name} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
