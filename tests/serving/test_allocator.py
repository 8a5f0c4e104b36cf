"""The server's process has huge pages where the system has them, and leaves an operator's own tunables alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sextant_serving.allocator import VARIABLE, with_huge_pages
from sextant_serving.launch import running_server

BOTH = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, BOTH),
        ({VARIABLE: ""}, BOTH),
        ({VARIABLE: BOTH}, BOTH),
        ({VARIABLE: "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=0:glibc.malloc.arena_max=1"),
        ({VARIABLE: "glibc.malloc.check=1"}, f"glibc.malloc.check=1:{BOTH}"),
    ],
)
def test_what_is_not_said_is_added(given: dict[str, str], expected: str) -> None:
    """Twice is as once, and the rest of the environment is untouched."""
    found = with_huge_pages({**given, "HOME": "/x"})
    assert found == {VARIABLE: expected, "HOME": "/x"}
    assert with_huge_pages(found) == found


@pytest.mark.parametrize("workers", ["1", "2"])
def test_every_process_of_a_server_runs_with_them(
    make_bundle: Callable[..., Path], workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that was started is the one that serves, and its workers inherit what it has."""
    monkeypatch.delenv(VARIABLE, raising=False)
    with running_server(bundle=make_bundle(), arguments=["--workers", workers]) as server:
        own = server.process.pid
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        assert len(children) >= int(workers) - 1
        for process in [str(own), *children]:
            environment = Path(f"/proc/{process}/environ").read_bytes().replace(b"\0", b":")  # glibc splits it in place
            assert f":{VARIABLE}={BOTH}:".encode() in environment
