"""Data of the three kinds that `sextant init` knows, and the command line in a subprocess and in this process."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from sextant_pipelines.cli import main


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code and its two streams."""

    code: int
    out: str
    err: str


@pytest.fixture
def sextant(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run the command line in this process."""

    def call(*arguments: str | Path) -> Result:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


def _draw(path: Path, grey: int, size: tuple[int, int] = (20, 18)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, 200, 255 - grey)).save(path)


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """Forty colour pictures of 18 x 20 pixels in the folders of two classes."""
    root = tmp_path / "fruit"
    for index in range(20):
        _draw(root / "apple" / f"{index}.png", index)
        _draw(root / "pear" / f"{index}.jpg", index + 100)
    return root


@pytest.fixture
def pictures_with_table(tmp_path: Path) -> Path:
    """Sixty pictures and a table that names them, with a number, a category, an id and the label `target`."""
    root = tmp_path / "parts"
    rows = ["part_id,file,weight,colour,target"]
    for index in range(60):
        _draw(root / "shots" / f"{index}.png", index)
        rows.append(
            f"P-{index},{index}.png,{index / 10},{'red' if index % 3 else 'blue'},{'ok' if index % 2 else 'bad'}"
        )
    (root / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV of 300 rows: id, repeated group id, number with gaps, truth value, awkward category, time, label last."""
    source = random.Random(7)
    rows = ["sample_id,patient_id,Alcohol %,sold,colour,taken_at,quality"]
    for index in range(300):
        number = "" if index % 50 == 0 else f"{source.uniform(8, 15):.2f}"
        colour = source.choice(["red", "white's", "no"])
        day = f"2024-01-{index % 28 + 1:02d}T10:00:00"
        rows.append(f"S-{index},P{index % 30},{number},{'true' if index % 2 else 'false'},{colour},{day},{index % 3}")
    path = tmp_path / "wine.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def plan_file(picture_folder: Path, tmp_path: Path, sextant: Callable[..., Result]) -> Path:
    """A plan that `check` accepts, written by `init`."""
    path = tmp_path / "plan.yaml"
    assert sextant("init", picture_folder, "-o", path, "--confirm-licence", "CC0-1.0").code == 0
    return path
