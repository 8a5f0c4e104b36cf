"""Files that take another's place in one step."""

from __future__ import annotations

from pathlib import Path

import pytest

from sextant_plan.files import replacing, write_atomically


def test_a_file_is_the_old_one_until_the_block_ends(tmp_path: Path) -> None:
    """A reader sees whole content alone, and nothing is left beside it."""
    path = tmp_path / "state.json"
    write_atomically(path, b"old")
    with replacing(path) as partial:
        partial.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"state.json": b"new"}


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    """What was written of the new one is removed."""
    path = tmp_path / "state.json"
    write_atomically(path, b"old")

    def write_half() -> None:
        with replacing(path) as partial:
            partial.write_bytes(b"ne")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        write_half()
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"state.json": b"old"}


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    """Each has a place of its own, whatever process or container it runs in; the last to end is what stands."""
    path = tmp_path / "state.json"
    with replacing(path) as late:
        late.write_bytes(b"late")
        with replacing(path) as early:
            early.write_bytes(b"early")
        assert path.read_bytes() == b"early"
    assert path.read_bytes() == b"late"
