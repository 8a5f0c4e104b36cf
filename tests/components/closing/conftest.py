"""Runs as the steps leave them: real ledgers with real pictures, told to end well, badly, undecided or not at all."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from sextant_components.runs.context import RunContext, Step, create_run
from sextant_plan.bounds import proportion
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import Criterion
from sextant_plan.verdicts import Estimate, Verdict, judge

PLAN = """\
name: parcel-labels
owner: {team: warehouse-ml, approvers: [m.sorensen, k.adeyemi]}
goal:
  business: Label 4 of 5 parcels without a person, and never send a fragile one down the fast chute
  why_ml: The rule on size and weight misses parcels whose fragility only shows in the picture
  risk_class: limited
  societal_impact: Fewer broken parcels; nobody is judged by it
  economics: {value_per_correct: 0.11, cost_per_error: 2.4, predictions_per_day: 40000}
criteria:
  - {id: accuracy, metric: accuracy, at_least: 0.9, min_n: 300, enforce: [gate, retrain]}
  - {id: accuracy-dim, metric: accuracy, at_least: 0.85, slice: light=dim, min_n: 60}
  - {id: every-class, metric: recall_min, at_least: 0.8}
  - {id: p99-latency, metric: latency_p99_ms, at_most: 50, min_n: 200, enforce: [gate, alert]}
  - {id: few-errors, metric: error_rate, at_most: 0.05, min_n: 200}
  - {id: few-missing, metric: missing_rate, at_most: 0.02}
  - {id: input-drift, metric: input_psi, at_most: 0.2, enforce: [alert, retrain]}
data:
  source: data
  table: parcels.csv
  images: images
  label: handling
  licence: {name: CC-BY-4.0, source: "https://example.org/parcels", allows_training: true}
  consent: {basis: no persons in the pictures}
model:
  task: image-classification
  inputs: {image: {height: 32, width: 32, channels: 3}}
  candidates: [{architecture: linear}, {architecture: small-cnn}]
evaluation: {slices: [light]}
failure:
  - {mode: scale-offline, fallback: answer with the columns' defaults, recover_within: 60s, alert: p99-latency}
"""
CLASSES = ["fragile", "heavy", "standard", "upright"]


def picture(width: int, height: int, draw: Callable[[ImageDraw.ImageDraw], None]) -> bytes:
    """Return a PNG."""
    image = Image.new("RGB", (width, height), "white")
    draw(ImageDraw.Draw(image))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def reliability(draw: ImageDraw.ImageDraw) -> None:
    """Draw a diagonal and a curve beside it."""
    draw.line([(40, 320), (440, 20)], fill="#999999", width=2)
    points = [(40 + 40 * i, 320 - 300 * i / 10 + 22 * math.sin(i / 2)) for i in range(11)]
    draw.line(points, fill="#1f5673", width=4)
    draw.rectangle([40, 20, 440, 320], outline="#333333")


def wrong_ones(draw: ImageDraw.ImageDraw) -> None:
    """Draw a row of small parcels."""
    for place in range(6):
        draw.rectangle([20 + 110 * place, 20, 110 + 110 * place, 110], fill="#c9a26b", outline="#7b5f36", width=3)
        draw.text((25 + 110 * place, 118), f"{CLASSES[place % 4]} -> {CLASSES[(place + 1) % 4]}", fill="black")


@dataclass
class Story:
    """How a run goes: what is measured, and where it ends."""

    last: Step = Step.WATCH
    right: int = 576
    rows: int = 600
    p99: Estimate = field(default_factory=lambda: Estimate(18.2, 16.9, 21.4, 300, 0.95))
    crash_in: Step | None = None
    failing_check_in: Step | None = None
    slow: int = 0


class Run:
    """Writes the steps of one run through the real ledger."""

    def __init__(self, context: RunContext, story: Story) -> None:
        self.context, self.story = context, story
        self.judged: dict[str, Verdict] = {}

    def write(self) -> RunContext:
        """Write every step up to the story's last."""
        for step in Step:
            with self.step(step) as ledger:
                getattr(self, f"_{step.value}", self._plain)(ledger, step)
            if step is self.story.last or self.story.crash_in is step:
                break
        return self.context

    @contextmanager
    def step(self, step: Step) -> Iterator[LedgerWriter]:
        """Open a step's ledger; a crash leaves it without its closing record."""
        ledger = self.context.ledger(step)
        yield ledger
        if step is self.story.failing_check_in:
            self.check(ledger, "a rule of the source", verdict=Verdict.FAIL, value={"dropped": 212, "rows": 600})
        crashed = RuntimeError("the step died") if self.story.crash_in is step else None
        ledger.__exit__(type(crashed) if crashed else None, crashed, None)

    def check(self, ledger: LedgerWriter, task: str, *, verdict: Verdict = Verdict.PASS, **more: object) -> None:
        """Record one check with plausible words."""
        ledger.record(
            task,
            requirement=f"{task} is as the plan asks",
            risk=f"{task} goes wrong unseen and the model is trusted for nothing",
            qa_method="computed from every row; compared with the frozen plan",
            verdict=verdict,
            **more,  # type: ignore[arg-type]
        )

    def criterion(self, ledger: LedgerWriter, criterion: Criterion, estimate: Estimate | None) -> None:
        """Record one criterion, judged as the gate judges it."""
        limits = {"at_least": criterion.at_least, "at_most": criterion.at_most}
        self.judged[criterion.id] = judge(estimate, **limits, min_n=criterion.min_n)
        self.check(
            ledger,
            criterion.metric.replace("_", " "),
            verdict=self.judged[criterion.id],
            estimate=estimate,
            value=None if estimate else "no row of the sealed split has this value",
            criterion=criterion,
        )

    def _plain(self, ledger: LedgerWriter, step: Step) -> None:
        self.check(ledger, f"{step.value.replace('_', ' ')} done", value={"version": "3", "seconds": 1.25})

    def _plan(self, ledger: LedgerWriter, step: Step) -> None:
        plan = {"plan.json": ledger.artifacts.put_json(self.context.plan.canonical())}
        self.check(ledger, "frozen plan", value=self.context.plan_hash, artifacts=plan)
        for heading in ("availability of data", "applicability", "legal and ethical", "robustness and scale"):
            self.check(ledger, heading, value="stated in the plan and checked against the source")

    def _ingest(self, ledger: LedgerWriter, step: Step) -> None:
        rows = {name: 150 + 10 * place for place, name in enumerate(CLASSES)}
        lineage = [{"file": "parcels.csv", "digest": "sha256:" + "c" * 64, "rows": 3000}]
        self.check(
            ledger,
            "snapshot",
            value={"data_hash": "sha256:" + "d" * 64, "rows": 3000, "classes": rows},
            artifacts={"lineage": ledger.artifacts.put_json(lineage)},
        )

    def _verify(self, ledger: LedgerWriter, step: Step) -> None:
        fixes = "".join(json.dumps({"row_id": row, "rule": "min", "reason": "weight < 0"}) + "\n" for row in (4, 71))
        missing = next(criterion for criterion in self.context.plan.criteria if criterion.id == "few-missing")
        self.criterion(ledger, missing, proportion(0, 3000, 0.95))
        self.check(ledger, "schema of weight", value={"rows": 3000, "dropped": 2, "rules": ["min"]})
        self.check(
            ledger,
            "fixes",
            value={"kept": 2998, "dropped": 2},
            artifacts={"fixes.jsonl": ledger.artifacts.put_bytes(fixes.encode())},
        )

    def _train(self, ledger: LedgerWriter, step: Step) -> None:
        trials = [
            {"number": n, "candidate": name, "learning_rate": 0.001 * (n + 1), "state": "complete", "valid_score": a}
            for n, (name, a) in enumerate([("linear", 0.81), ("small-cnn", 0.957), ("small-cnn", 0.962)])
        ]
        curve = picture(640, 360, lambda draw: draw.line([(20, 20), (200, 260), (620, 320)], fill="#1f5673", width=4))
        artifacts = {
            "trials.json": ledger.artifacts.put_json(trials),
            "learning.png": ledger.artifacts.put_bytes(curve),
        }
        self.check(ledger, "search", value={"trials": 3, "chosen": "small-cnn"}, artifacts=artifacts)

    def _optimise(self, ledger: LedgerWriter, step: Step) -> None:
        engines = [
            {"engine": "torch-safetensors", "median_ms": 2.31, "low": 2.2, "high": 2.5, "verdict": "pass"},
            {"engine": "onnx", "median_ms": 0.84, "low": 0.8, "high": 0.91, "verdict": "pass"},
        ]
        table = {"engines.json": ledger.artifacts.put_json(engines)}
        self.check(ledger, "fastest equivalent engine", value="onnx", artifacts=table)

    def _evaluate(self, ledger: LedgerWriter, step: Step) -> None:
        story, plan = self.story, self.context.plan
        matrix = [[140, 6, 3, 1], [2, 147, 1, 0], [4, 0, 145, 1], [5, 0, 1, 144]]
        slices = [
            {"slice": f"light={name}", "n": n, **_bounds(proportion(round(share * n), n, 0.95))}
            for name, n, share in [("bright", 280, 0.975), ("normal", 210, 0.962), ("dim", 110, 0.94)]
        ]
        put = ledger.artifacts
        artifacts = {
            "confusion.json": put.put_json({"classes": CLASSES, "matrix": matrix}),
            "confusion.png": put.put_bytes(picture(300, 300, lambda draw: draw.rectangle([0, 0, 150, 150], "#1f5673"))),
            "reliability.png": put.put_bytes(picture(480, 340, reliability)),
            "slices.json": put.put_json(slices),
            "errors.png": put.put_bytes(picture(680, 140, wrong_ones)),
            "errors.json": put.put_json([{"row_id": 5, "label": "fragile", "answer": "heavy", "probability": 0.93}]),
            "latency.json": put.put_json({"p50_ms": 6.1, "p99_ms": 18.2, "requests": 300}),
        }
        self.check(ledger, "what the model gets wrong", value={"wrong": 24}, artifacts=artifacts)
        estimates = {
            "accuracy": proportion(story.right, story.rows, 0.95),
            "accuracy-dim": proportion(104, 110, 0.95),
            "every-class": proportion(140, 150, 0.95),
            "p99-latency": story.p99,
            "few-errors": proportion(0, 300, 0.95),
        }
        for criterion in plan.criteria:
            if criterion.definition.step == "evaluate":
                self.criterion(ledger, criterion, estimates[criterion.id])

    def _decide(self, ledger: LedgerWriter, step: Step) -> None:
        for criterion in self.context.plan.criteria:
            found = self.judged.get(criterion.id)
            if found is not None:
                self.check(ledger, f"decision {criterion.id}", verdict=found, value="evaluate", criterion=criterion)

    def _watch(self, ledger: LedgerWriter, step: Step) -> None:
        for criterion in self.context.plan.criteria:
            if criterion.id == "p99-latency":
                share = proportion(self.story.slow, 900, 0.95)
                verdict = judge(share, at_least=None, at_most=0.01, min_n=200)
                self.check(ledger, "alert p99-latency", verdict=verdict, estimate=share, criterion=criterion)


def _bounds(estimate: Estimate) -> dict[str, float]:
    return {"accuracy": estimate.value, "low": estimate.low, "high": estimate.high}


@pytest.fixture
def empty_run(tmp_path: Path) -> RunContext:
    """A run that was created and in which nothing has happened yet."""
    (tmp_path / "plan.yaml").write_text(PLAN, encoding="utf-8")
    return create_run(tmp_path / "run", run_id="r-0042", plan_path=tmp_path / "plan.yaml", home=tmp_path / "home")


@pytest.fixture
def tell(empty_run: RunContext) -> Callable[..., RunContext]:
    """Write a run by its story; called once a test."""
    return lambda **story: Run(empty_run, Story(**story)).write()
