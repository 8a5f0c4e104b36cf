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
from benchmarks.serving.models import CLASSES, MAX_ROWS, BenchModel, picture_batch
from benchmarks.serving.wires import http_request

from sextant_plan.bundle import GOLDEN_FILE, REFERENCE_FILE, BundleSpec, Member, ServingSpec, Tensor, seal_bundle
from sextant_plan.reference import Reference, profile, write_reference
from sextant_plan.schema import ImageInput
from sextant_serving.engines import Engine, load_engine
from sextant_serving.launch import running_server
from sextant_serving.preprocessing import picture_statistics

ENGINES = ("torch-safetensors", "torch-channels-last", "torch-bf16", "torch-cuda-graphs")
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


def _seconds(engine: Engine, inputs: dict[str, Any]) -> list[float]:
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
    image = ImageInput(height=side, width=side, channels=3)
    params = complete(name, {})
    network = build(name, params, image=image, columns=0, classes=len(CLASSES))
    made = {}
    for engine in ENGINES:
        bundle = folder / f"{name}-{side}-{engine}"
        bundle.mkdir()
        save_file(network.state_dict(), bundle / WEIGHTS)
        spec = _describe(engine, Member(file=WEIGHTS, architecture=name, params=params), image)
        model = BenchModel(name, side, 3, "")
        pictures = picture_batch(model, 2)
        runs = load_engine(bundle, spec)
        np.savez(bundle / GOLDEN_FILE, image=pictures, probabilities=runs.run({"image": pictures}))
        measured = picture_statistics(picture_batch(model, 64))
        features = [profile(feature, values, 10) for feature, values in measured.items()]
        write_reference(bundle / REFERENCE_FILE, Reference(features=features, classes=dict.fromkeys(CLASSES, 1)))
        made[engine] = (bundle, seal_bundle(bundle, spec))
    return made


def _describe(engine: Any, member: Member, image: ImageInput) -> BundleSpec:
    return BundleSpec(
        name="bench",
        version="1",
        task="image-classification",
        engine=engine,
        members=[member],
        image=image,
        columns=[],
        entity=None,
        feature_service=None,
        classes=CLASSES,
        inputs=[Tensor(name="image", datatype="UINT8", shape=[-1, image.height, image.width, image.channels])],
        outputs=[Tensor(name="probabilities", datatype="FP32", shape=[-1, len(CLASSES)])],
        serving=ServingSpec(
            max_rows=MAX_ROWS,
            max_wait=0.002,
            queue_rows=512,
            deadline=30.0,
            latency_edges_ms=[100.0],
            abstain_below=0.0,
            missing_features="default",
        ),
        golden_tolerance=1e-2,
        plan_hash="sha256:" + "0" * 64,
        data_hash="sha256:" + "0" * 64,
        created=1.7e9,
        files={},
    )


if __name__ == "__main__":
    main()
