"""Pictures for the dossier, drawn without a display; the same figures give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREY = "#1f5f8b", "#c8641e", "#8a8f98"
SHEET_COLUMNS = 6


class Epoch(Protocol):
    """What the curves show of one pass over the training rows."""

    @property
    def train_loss(self) -> float: ...
    @property
    def valid_loss(self) -> float: ...
    @property
    def valid_score(self) -> float: ...


class _Png:
    data = b""


@contextmanager
def _figure(width: float, height: float, **grid: Any) -> Iterator[tuple[Any, _Png]]:
    """Give axes to draw on; `data` of the second value holds the PNG once the block has ended."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    png = _Png()
    yield figure.subplots(**grid), png
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    png.data = buffer.getvalue()


def learning_curves(histories: Mapping[str, Sequence[Epoch]], *, score: str, loss: str) -> bytes:
    """Return training and validation loss, and the validation score, by epoch, one line for each name."""
    with _figure(8, 3, ncols=2) as ((losses, scores), png):
        for name, history in histories.items():
            epochs = range(1, len(history) + 1)
            (line,) = losses.plot(epochs, [epoch.valid_loss for epoch in history], label=name)
            losses.plot(epochs, [epoch.train_loss for epoch in history], linestyle=":", color=line.get_color())
            scores.plot(epochs, [epoch.valid_score for epoch in history], label=name)
        losses.set(xlabel="epoch", ylabel=f"loss, {loss} (dotted: training)")
        scores.set(xlabel="epoch", ylabel=f"validation {score}")
        scores.legend(fontsize=7)
    return png.data


def confusion_matrix(matrix: NDArray[np.int64], classes: Sequence[str]) -> bytes:
    """Return the matrix, rows are labels and columns predictions, shaded by the share of the label's rows."""
    side = max(3.0, 0.55 * len(classes) + 1.2)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    with _figure(side, side) as (axes, png):
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.argwhere(matrix > 0):
            shade = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=shade, fontsize=8)
        axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", fontsize=8)
        axes.set_yticks(range(len(classes)), classes, fontsize=8)
        axes.set(xlabel="predicted", ylabel="label")
    return png.data


def reliability(confidence: NDArray[np.float64], accuracy: NDArray[np.float64], counts: NDArray[np.int64]) -> bytes:
    """Return accuracy against mean confidence of the bins; the size of a point is its share of the rows."""
    with _figure(4, 4) as (axes, png):
        axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
        axes.scatter(confidence, accuracy, s=400 * counts / counts.sum(), color=BLUE)
        axes.plot(confidence, accuracy, color=BLUE, linewidth=1)
        axes.set(xlabel="mean confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    return png.data


def contact_sheet(
    pictures: NDArray[np.uint8], titles: Sequence[str], overlays: NDArray[np.float64] | None = None
) -> bytes:
    """Return pictures, shape (n, height, width, channels), side by side with a title each.

    `overlays`, shape (n, rows, columns), are laid over them as heat.
    """
    rows = -(-len(pictures) // SHEET_COLUMNS)
    with _figure(1.5 * SHEET_COLUMNS, 1.75 * rows, nrows=rows, ncols=SHEET_COLUMNS, squeeze=False) as (grid, png):
        for place, axes in enumerate(grid.flat):
            axes.axis("off")
            if place < len(pictures):
                _show(axes, pictures[place], titles[place], None if overlays is None else overlays[place])
    return png.data


def _show(axes: Axes, picture: NDArray[np.uint8], title: str, overlay: NDArray[np.float64] | None) -> None:
    height, width = picture.shape[:2]
    frame = (0.0, float(width), float(height), 0.0)
    axes.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=255, extent=frame)
    if overlay is not None:
        strongest = max(float(np.abs(overlay).max()), 1e-9)
        axes.imshow(overlay, cmap="coolwarm", vmin=-strongest, vmax=strongest, alpha=0.5, extent=frame)
    axes.set_title(title, fontsize=7)


def bars(values: dict[str, float], label: str) -> bytes:
    """Return horizontal bars, the largest value on top."""
    ordered = sorted(values.items(), key=lambda item: item[1])
    with _figure(6, 0.35 * len(ordered) + 1) as (axes, png):
        axes.barh([name for name, _ in ordered], [value for _, value in ordered], color=ORANGE)
        axes.set(xlabel=label)
    return png.data


def scatter(labels: NDArray[np.float64], values: NDArray[np.float64]) -> bytes:
    """Return one point a row, its label across and the answer up; on the line both are the same."""
    with _figure(4.5, 4.5) as (axes, png):
        ends = [float(min(labels.min(), values.min())), float(max(labels.max(), values.max()))]
        axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=1)
        axes.scatter(labels, values, s=10, color=BLUE, alpha=0.6, linewidths=0)
        axes.set(xlabel="label", ylabel="answer")
    return png.data
