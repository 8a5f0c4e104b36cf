"""The benchmark itself runs: what it measures is for a quiet machine, that it measures is for a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.bench
def test_one_command_measures_and_writes_the_page(tmp_path: Path) -> None:
    """Sextant's own cells of the null model, without an error, in a table and a plot."""
    options = ["--servers", "sextant", "--models", "null", "--connections", "2", "--seconds", "0.5"]
    where = ["--work", str(tmp_path / "work"), "--out", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "benchmarks.serving", *options, *where], cwd=ROOT, check=True)
    cells = json.loads((tmp_path / "benchmarks.json").read_text())["cells"]
    assert {cell["wire"] for cell in cells} == {"raw", "json", "binary", "jpeg", "grpc"}
    assert all(cell["requests"] > 0 and cell["errors"] == 0 for cell in cells)
    assert "| Sextant |" in (tmp_path / "benchmarks.md").read_text()
    assert (tmp_path / "images" / "benchmarks-serving.svg").stat().st_size > 0
