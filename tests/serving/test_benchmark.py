"""The benchmark itself runs: what it measures is for a quiet machine, that it measures is for a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.serving.measure import RAW, Cell
from benchmarks.serving.targets import target_lines

ROOT = Path(__file__).parents[2]


@pytest.mark.bench
@pytest.mark.slow
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


def test_a_missed_target_is_told_with_its_reason() -> None:
    """Figures meet a target or miss it, and what no server could reach is told apart from what this one lacks."""

    def cell(model: str, server: str, connections: int, rate: float, p50_ms: float) -> Cell:
        return Cell(server, model, RAW if server == RAW else "binary", connections, rate, p50_ms, 9.0, 0.2, 100, 0)

    null, large = ((900.0, 1100.0, 400.0), (10.0, 1e6, 8.0))
    servers = (RAW, "socket", "sextant")
    measured = [
        *(cell("null", server, 32, rate, 1.0) for server, rate in zip(servers, null, strict=True)),
        *(cell("large", server, 32, rate, 1.0) for server, rate in zip(servers, large, strict=True)),
        cell("large", RAW, 1, 10.0, 9.0),
        cell("large", "sextant", 1, 9.0, 9.4),
    ]
    cells = {(one.model, one.wire, one.server, one.connections): one for one in measured}
    text = "\n".join(target_lines(cells, {key: [one] for key, one in cells.items()}, ["null", "large"]))
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith(("| null", "| large"))]
    found = [(model.removeprefix("| "), value, met.removesuffix(" |")) for model, _, value, met in rows]
    assert found == [
        ("null", "0.444", "**no**"),
        ("null", "0.200 ms", "**no**"),
        ("large", "0.800", "**no**"),
        ("large", "0.40 ms", "yes"),
    ]
    assert "allow 0.55 of it" in text
    assert "`large` reaches 0.9 in 0 of its 1 rounds" in text
    assert "caches" not in text
