"""Huge pages for what a model reads and writes, asked of the C library before the server's process has any memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

VARIABLE = "GLIBC_TUNABLES"
# Weights and activations are megabytes that every answer walks through: in pages of 4 KiB the processor looks up
# addresses for a tenth to a third of the time. Only the main arena gets huge pages, so every thread uses that one.
# Source: "Memory Allocation Tunables" in the GNU C Library's manual; decision 50 has the measurements.
TUNABLES = {"glibc.malloc.hugetlb": "1", "glibc.malloc.arena_max": "1"}


def with_huge_pages(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` with the allocator's tunables; what it says of one of them already is left alone."""
    given = environment.get(VARIABLE, "")
    named = {each.partition("=")[0] for each in given.split(":")}
    missing = [f"{name}={value}" for name, value in TUNABLES.items() if name not in named]
    return {**environment, VARIABLE: ":".join([*([given] if given else []), *missing])}


def start_with_huge_pages() -> None:
    """Start this process anew, in its place, unless its environment has the tunables: they are read at the start.

    Does nothing on other systems than Linux; without huge pages, or without glibc, the variable has no effect.
    """
    environment = with_huge_pages(os.environ)
    if sys.platform == "linux" and environment[VARIABLE] != os.environ.get(VARIABLE):
        os.execve(sys.executable, sys.orig_argv, environment)  # noqa: S606 - this very command
