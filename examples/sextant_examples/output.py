"""What every generator shares: its command line, and a table written the same way on every machine."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


def arguments(program: str, about: str) -> argparse.ArgumentParser:
    """Return the command line that every generator starts from: the folder to write."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=about)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write; files of the same name are replaced")
    return parser


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV file in UTF-8 with `\\n` line ends; a missing value is an empty field."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
