"""The canonical form: one byte string for equal JSON values, and digests that follow from it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sextant_plan.canonical import canonical_json, digest_of, digest_of_bytes, digest_of_file, digest_of_files

SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False) | st.text()
FINITE = SCALARS.filter(lambda value: not (isinstance(value, float) and value in {float("inf"), float("-inf")}))
VALUES = st.recursive(FINITE, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))


def reordered(value: Any) -> Any:
    """Return an equal JSON value whose objects list their keys in the opposite order."""
    if isinstance(value, dict):
        return {key: reordered(item) for key, item in reversed(value.items())}
    if isinstance(value, list):
        return [reordered(item) for item in value]
    return value


@given(value=VALUES)
def test_key_order_does_not_change_the_form(value: Any) -> None:
    """Two objects that differ only in the order of their keys have one form, at every depth."""
    assert canonical_json(value) == canonical_json(reordered(value))


@given(items=st.lists(st.integers(0, 9), min_size=2, unique=True))
def test_order_in_a_list_is_meaning(items: list[int]) -> None:
    """A list and its reverse are different values with different digests."""
    assert digest_of(items) != digest_of(items[::-1])


@pytest.mark.parametrize(
    ("value", "form"),
    [
        pytest.param(1.0, b"1", id="a whole float loses its point"),
        pytest.param(1e21, b"1e+21", id="large numbers as ECMAScript writes them"),
        pytest.param(0.000001, b"0.000001", id="small numbers as ECMAScript writes them"),
        pytest.param(-0.0, b"0", id="no negative zero"),
        pytest.param({"b": [True, None], "a": "\u20ac\n"}, '{"a":"€\\n","b":[true,null]}'.encode(), id="no spaces"),
        pytest.param({"\U0001f600": 1, "\ufb33": 2}, '{"😀":1,"\ufb33":2}'.encode(), id="keys by UTF-16 code unit"),
    ],
)
def test_form_is_that_of_rfc_8785(value: Any, form: bytes) -> None:
    """The examples of the standard's sections 3.2.2 and 3.2.3 hold."""
    assert canonical_json(value) == form


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**60], ids=["not a number", "infinite", "too large"])
def test_what_json_cannot_hold_is_refused(value: float) -> None:
    """A number that no reader could give back unchanged has no canonical form."""
    with pytest.raises(ValueError, match=r".+"):
        canonical_json(value)


def test_digests_name_their_algorithm_and_agree(tmp_path: Path) -> None:
    """A file's digest is that of its bytes, also beyond one chunk, and says which function made it."""
    data = b"sextant" * 400_000
    (tmp_path / "file").write_bytes(data)
    expected = "sha256:" + hashlib.sha256(data).hexdigest()
    assert digest_of_file(tmp_path / "file") == digest_of_bytes(data) == expected
    assert digest_of_files(tmp_path, ["file"]) == {"file": expected}
