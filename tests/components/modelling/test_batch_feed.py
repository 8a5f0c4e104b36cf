"""Batches made ahead: the same as made one by one, at any place and after a stop, and made while a step is taken."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sextant_components.modelling import batch_feed
from sextant_components.modelling.batch_feed import Batch, Feed
from sextant_components.modelling.epochs import Run
from sextant_components.modelling.teams import current_team
from sextant_components.modelling.tensors import Examples
from sextant_components.modelling.training import Fitted, Settings, Shape, fit
from sextant_plan.schema import Augmentation, ImageInput, Training

KINDS: tuple[Augmentation, ...] = ("light", "shift", "turn", "mirror", "blur", "erase")
SHAPE = Shape(ImageInput(height=12, width=12, channels=1), [], ["a", "b"], augment=KINDS)
SETTINGS = Settings("small-cnn", {"width": 4, "dropout": 0.3}, 1e-2, 1e-4, 2, 8, 3, Training(checkpoint_steps=1))
DEADLINE = 120.0  # seconds, on a busy machine; it takes none


def _examples(rows: int) -> Examples:
    pictures = np.random.default_rng(rows).integers(0, 255, (rows, 12, 12, 1)).astype(np.uint8)
    return Examples(list(range(rows)), {"image": pictures}, (np.arange(rows) % 2).astype(np.int64))


@pytest.fixture
def feed() -> Feed:
    """The feed of 40 pictures that are changed in every way."""
    return Feed(_examples(40), ("image",), KINDS, current_team(), seed=5)


ROWS = np.arange(40).reshape(5, 8)


def _bytes(batches: Any) -> list[bytes]:
    return [batch.inputs["image"].numpy().tobytes() for batch in batches]


def test_a_batch_depends_on_its_place_alone(feed: Feed) -> None:
    """An epoch that goes on from its third batch has the batches that it would have had; another epoch has others."""
    whole = _bytes(feed.batches(list(ROWS), epoch=1, first=0))
    assert _bytes(feed.batches(list(ROWS[2:]), epoch=1, first=2)) == whole[2:]
    assert not set(_bytes(feed.batches(list(ROWS), epoch=2, first=0))) & set(whole)


def test_making_batches_leaves_the_fits_own_randomness_alone(feed: Feed) -> None:
    """Else dropout would depend on how far the thread is ahead."""
    before = torch.random.get_rng_state()
    assert len(_bytes(feed.batches(list(ROWS), epoch=0, first=0))) == 5
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_next_batch_is_made_while_the_step_is_taken(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever works on the first batch sees the second one finished, without asking for it."""
    made, make = [threading.Event() for _ in ROWS], Feed._batch

    def told(self: Feed, rows: Any, epoch: int, place: int) -> Batch:
        batch = make(self, rows, epoch, place)
        made[place].set()
        return batch

    monkeypatch.setattr(Feed, "_batch", told)
    for place, _ in enumerate(feed.batches(list(ROWS), epoch=0, first=0)):
        assert all(each.wait(DEADLINE) for each in made[: place + 2])


def test_what_goes_wrong_in_the_thread_is_raised_where_the_batch_is_used(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of a picture is not lost with its thread, and the thread ends."""

    def broken(*_: Any) -> Any:
        raise ValueError("a broken picture")

    monkeypatch.setattr(batch_feed, "augmented", broken)
    with pytest.raises(ValueError, match="a broken picture"):
        list(feed.batches(list(ROWS), epoch=0, first=0))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def _fit(folder: Path | None = None) -> Fitted:
    return fit(SETTINGS, SHAPE, _examples(40), _examples(10), checkpoints=folder)


def _weights(fitted: Fitted) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in fitted.network.state_dict().values()]  # type: ignore[union-attr]


class _Stop(Exception):
    """Ends a fit in the middle of an epoch."""


def test_pictures_made_ahead_give_the_weights_of_pictures_made_in_turn_also_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, with augmentation and dropout; batches that lay ready when the fit was stopped do not count."""
    ahead = _weights(_fit())
    with monkeypatch.context() as patch:
        patch.setattr(Feed, "is_ahead", False)
        assert _weights(_fit()) == ahead
    step, taken = Run._step, []

    def stopping(run: Run, batch: Batch) -> torch.Tensor:
        taken.append(batch)
        if len(taken) == 8:
            raise _Stop
        return step(run, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_step", stopping)
        with pytest.raises(_Stop):
            _fit(tmp_path)
    assert _weights(_fit(tmp_path)) == ahead
