"""The engines on an NVIDIA GPU beside each other, and the server in front of the fastest.

`python -m benchmarks.gpu_engines` times each engine on batches of one row and of 32, in turns so that the clocks of the
GPU are the same for all, and prints a Markdown table: medians in milliseconds, pictures a second, and how far the
answers are from the first engine's. Then `--serve` seconds of v2 binary requests over 32 connections, beside the
engine alone in a loop. Weights are random: nothing here is about what is predicted.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from benchmarks.serving.models import CLASSES, MAX_ROWS, BenchModel, describe, picture_batch, write_picture_reference
from benchmarks.serving.wires import http_request

from sextant_plan.bundle import GOLDEN_FILE, BundleSpec, Engine, Member, seal_bundle
from sextant_serving.engines import Engine as Runs
from sextant_serving.engines import load_engine
from sextant_serving.launch import running_server

ENGINES: tuple[Engine, ...] = (
    "torch-safetensors",
    "torch-channels-last",
    "torch-bf16",
    "torch-cuda-graphs",
    "torch-cuda-graphs-bf16",
)
MODELS = (("small-cnn", 32), ("resnet18", 64), ("resnet18", 224), ("vit", 64))
WEIGHTS = "model.safetensors"
ROUNDS, CALLS = 5, 40
CONNECTIONS = 32


@click.command()
@click.option("--serve", default=10.0, show_default=True, help="Seconds of requests to each server; 0 for none.")
def main(serve: float) -> None:
    """Measure and print."""
    import torch

    click.echo(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {os.cpu_count()} cores\n")
    click.echo("| network | engine | 1 row, ms | 32 rows, ms | rows/s | largest difference |")
    click.echo("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        bundles = {(name, side): _make_bundles(name, side, Path(folder)) for name, side in MODELS}
        for (name, side), made in bundles.items():
            _compare(name, side, made)
        click.echo("\n| network | server, requests/s | engine alone, rows/s | ratio | p50, ms | p99, ms |")
        click.echo("|---|---|---|---|---|---|")
        for (name, side), made in bundles.items():
            if serve > 0:
                _serve(name, side, made["torch-cuda-graphs"], serve)


def _compare(name: str, side: int, bundles: dict[str, tuple[Path, BundleSpec]]) -> None:
    model = BenchModel(name, side, 3, "")
    engines = {engine: load_engine(*made) for engine, made in bundles.items()}
    batch = {"image": picture_batch(model, MAX_ROWS)}
    expected = engines[ENGINES[0]].run(batch)
    times: dict[tuple[str, int], list[float]] = {(engine, rows): [] for engine in engines for rows in (1, MAX_ROWS)}
    for _ in range(ROUNDS):
        for (engine, rows), seen in times.items():
            seen.extend(_seconds(engines[engine], {"image": batch["image"][:rows]}))
    for engine, runs in engines.items():
        one, full = (float(np.median(times[engine, rows])) for rows in (1, MAX_ROWS))
        off = float(np.abs(runs.run(batch) - expected).max())
        click.echo(
            f"| {name} {side} | {engine} | {one * 1e3:.3f} | {full * 1e3:.3f} | {MAX_ROWS / full:.0f} | {off:.1e} |"
        )


def _seconds(engine: Runs, inputs: dict[str, Any]) -> list[float]:
    for _ in range(CALLS // 4):
        engine.run(inputs)
    seen = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        engine.run(inputs)
        seen.append(time.perf_counter() - begun)
    return seen


def _serve(name: str, side: int, made: tuple[Path, BundleSpec], seconds: float) -> None:
    model, engine = BenchModel(name, side, 3, ""), load_engine(*made)
    alone = MAX_ROWS / float(np.median(_seconds(engine, {"image": picture_batch(model, MAX_ROWS)})))
    del engine
    with running_server(bundle=made[0]) as server:
        request = http_request(model, "binary", "v2", "/v2/models/bench/infer")
        asked = {
            "port": int(server.url.rsplit(":", 1)[1]),
            "wire": "binary",
            "connections": CONNECTIONS,
            "request": base64.b64encode(request).decode(),
        }
        for duration in (seconds / 4, seconds):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.serving.load"],
                input=json.dumps({**asked, "seconds": duration}),
                capture_output=True,
                text=True,
                check=True,
            )
    answer = json.loads(done.stdout)
    rate = (len(answer["times"]) - answer["errors"]) / answer["seconds"]
    p50, p99 = (float(np.quantile(answer["times"], q)) * 1e3 for q in (0.5, 0.99))
    click.echo(f"| {name} {side} | {rate:.0f} | {alone:.0f} | {rate / alone:.2f} | {p50:.2f} | {p99:.2f} |")


def _make_bundles(name: str, side: int, folder: Path) -> dict[str, tuple[Path, BundleSpec]]:
    """Seal the same random weights for each engine."""
    import torch
    from safetensors.torch import save_file

    from sextant_serving.architectures import build, complete

    torch.manual_seed(0)
    model = BenchModel(name, side, 3, "")
    params = complete(name, {})
    network = build(name, params, image=model.image, columns=0, classes=len(CLASSES))
    made = {}
    for engine in ENGINES:
        bundle = folder / f"{name}-{side}-{engine}"
        bundle.mkdir()
        save_file(network.state_dict(), bundle / WEIGHTS)
        member = Member(file=WEIGHTS, architecture=name, params=params)
        spec = describe(model, engine, member, tolerance=1e-2)  # which bfloat16 needs
        pictures = picture_batch(model, 2)
        runs = load_engine(bundle, spec)
        np.savez(bundle / GOLDEN_FILE, image=pictures, probabilities=runs.run({"image": pictures}))
        write_picture_reference(model, bundle)
        made[engine] = (bundle, seal_bundle(bundle, spec))
    return made


if __name__ == "__main__":
    main()
