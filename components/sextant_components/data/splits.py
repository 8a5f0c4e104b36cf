"""Train, valid and sealed rows: grouped, by class or by time, and the same for the same data every time."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime

from sextant_components.data.tables import SplitName

SPLIT_SEED = 0  # fixed, so that an amended plan never moves a row out of the sealed split


def group_rows(*keys: Sequence[Hashable | None]) -> list[int]:
    """Return a group for each row, as its lowest row: rows that share any key, however indirectly, share it.

    Each of `keys` has one entry a row; None shares with nobody. Without keys every row is its own group.
    """
    rows = len(keys[0]) if keys else 0
    parent = list(range(rows))

    def find(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for column in keys:
        first: dict[Hashable, int] = {}
        for row, key in enumerate(column):
            if key is None:
                continue
            one, other = find(first.setdefault(key, row)), find(row)
            parent[max(one, other)] = min(one, other)
    return [find(row) for row in range(rows)]


def split_rows(
    labels: Sequence[str],
    groups: Sequence[int],
    names: Sequence[str],
    *,
    sealed: float,
    valid: float,
    times: Sequence[datetime] | None = None,
    seed: int = SPLIT_SEED,
) -> list[SplitName]:
    """Return the split of each row.

    A group goes whole into one split. Groups are taken by their rarest class, in the order of a hash of their
    smallest name, and fill the sealed share of the class first, then the valid share; the rest trains. Every
    class keeps a group to train on, and one to seal as soon as it has two. `names` identify rows by content,
    so that neither the rows' order nor added rows of another class move anything. With `times` all groups are
    taken from the newest on instead, by their latest row and whatever their class: what is sealed lies after what
    trains, and a class may be missing from a split.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    frequency = Counter(labels)
    strata: dict[str, list[tuple[float, str, int]]] = defaultdict(list)
    for group, rows in members.items():
        rarest = min((labels[row] for row in rows), key=lambda label: (frequency[label], label))
        stratum = rarest if times is None else ""  # a cut for each class would train one beyond another's sealed rows
        rank = _rank(min(names[row] for row in rows), seed)
        newest = -max(times[row].timestamp() for row in rows) if times is not None else 0.0
        strata[stratum].append((newest, rank, group))
    placed: dict[int, SplitName] = {}
    for ranked in strata.values():
        ordered = [group for *_, group in sorted(ranked)]
        sizes = {group: len(members[group]) for group in ordered}
        placed |= _fill(ordered, sizes, sealed=sealed, valid=valid)
    return [placed[group] for group in groups]


def _rank(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest()


def _fill(ordered: Sequence[int], sizes: Mapping[int, int], *, sealed: float, valid: float) -> dict[int, SplitName]:
    """Place one class's groups; at least one trains, then one is sealed, then one validates, as far as they go."""
    total = sum(sizes.values())
    spare = {"sealed": len(ordered) >= 2, "valid": len(ordered) >= 3}
    placed: dict[int, SplitName] = {}
    remaining = list(ordered)
    wanted: tuple[tuple[SplitName, float], ...] = (("sealed", sealed), ("valid", valid))
    for name, share in wanted:
        filled = 0
        keep = 1 + (name == "sealed" and spare["valid"])  # groups that later splits still need
        while spare[name] and len(remaining) > keep:
            size = sizes[remaining[0]]
            if filled and filled + size / 2 > share * total:
                break
            placed[remaining.pop(0)] = name
            filled += size
    return placed | dict.fromkeys(remaining, "train")
