"""Loading a view's newest events into the online store: only what changed, in pieces, resumed where it was broken off.

Feast's own incremental form cuts by event time and so never loads an event that arrives late. Here what was loaded is
kept beside the repository, and each entity's newest event is compared with it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_components.data.features.feature_sources import EVENT_TIME
from sextant_plan.files import replacing

if TYPE_CHECKING:
    import polars as pl

PIECE_ROWS = 5000  # written at a time: a second's work, which is all that a broken load has to do again
PROBED_ROWS = 100  # read back before an earlier load is trusted
_WHOLE = "loaded.parquet"


@dataclass(frozen=True)
class OnlineView:
    """One view's place in the online store, as calls: write events, read values by key, and empty it."""

    write: Callable[[pl.DataFrame], None]
    read: Callable[[list[str]], pl.DataFrame]
    clear: Callable[[], None]


def newest_events(events: pl.DataFrame, entity: str, until: datetime) -> pl.DataFrame:
    """Return each entity's newest event up to `until`, by entity; `events` has one event an entity and time."""
    import polars as pl

    known = events.filter(pl.col(EVENT_TIME) <= until).sort(entity, EVENT_TIME)
    return known.unique(entity, keep="last", maintain_order=True)


def load_newest(newest: pl.DataFrame, entity: str, online: OnlineView, state: Path) -> int:
    """Bring the online store to `newest` and return how many events were written; `state` says what it holds.

    An online store refuses an event that is not later than the one it has. So where an event was taken back, or
    corrected under its own time, the view is emptied and loaded whole, as it is where the store lost what it had.
    """
    held = _held(state, newest, entity)
    if held is not None and (_goes_back(newest, held, entity) or not _is_there(online, held, entity)):
        held = None
    if held is None:
        shutil.rmtree(state, ignore_errors=True)
        online.clear()
        held = newest.clear()
    state.mkdir(parents=True, exist_ok=True)
    changed = newest.join(held, on=newest.columns, how="anti", nulls_equal=True, maintain_order="left")
    first = len(list(state.glob("piece-*.parquet")))
    for number, piece in enumerate(changed.iter_slices(PIECE_ROWS), first):
        online.write(piece)
        _replace(state / f"piece-{number:06d}.parquet", piece)
    _replace(state / _WHOLE, newest)
    for path in state.glob("piece-*.parquet"):
        path.unlink()
    return changed.height


def _held(state: Path, newest: pl.DataFrame, entity: str) -> pl.DataFrame | None:
    """Return what was loaded, a broken load's pieces included; None if nothing was, or under another schema."""
    import polars as pl

    paths = [path for path in (state / _WHOLE, *sorted(state.glob("piece-*.parquet"))) if path.exists()]
    parts = [pl.read_parquet(path) for path in paths]
    if not parts or any(part.schema != newest.schema for part in parts):
        return None
    return pl.concat(parts).unique(entity, keep="last", maintain_order=True)


def _goes_back(newest: pl.DataFrame, held: pl.DataFrame, entity: str) -> bool:
    """Tell whether an entity is gone, or its event changed without becoming later; Redis counts whole seconds."""
    import polars as pl

    other = held.join(newest, on=newest.columns, how="anti", nulls_equal=True)
    both = other.select(entity, pl.col(EVENT_TIME).alias("_held")).join(
        newest.select(entity, EVENT_TIME), on=entity, how="left"
    )
    later = pl.col(EVENT_TIME).dt.truncate("1s") > pl.col("_held").dt.truncate("1s")
    return not both.select(later.fill_null(value=False).all()).item()


def _is_there(online: OnlineView, held: pl.DataFrame, entity: str) -> bool:
    """Tell whether a sample of what was loaded is found in the store, as one that was emptied shows at once."""
    probed = held.gather_every(max(1, held.height // PROBED_ROWS))
    found = online.read(probed[entity].to_list())
    return found.equals(probed.select(found.columns).cast(dict(found.schema.items())))


def _replace(path: Path, table: pl.DataFrame) -> None:
    with replacing(path) as partial:
        table.write_parquet(partial)
