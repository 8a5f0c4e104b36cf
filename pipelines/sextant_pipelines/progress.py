"""Live progress of a run, read from its ledger files: which step runs, and how each one ended."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from sextant_components.runs.context import PHASES, Step
from sextant_plan.ledger import END_TASK


@dataclass
class StepState:
    """What a ledger file says so far; `verdict` is None while the step runs."""

    step: str
    phase: str
    started: float
    verdict: str | None = None
    ended: float | None = None

    def line(self, now: float) -> str:
        """Return one line for a reader: verdict or dots, step, phase, seconds."""
        seconds = (self.ended or now) - self.started
        return f"{self.verdict or 'running':8} {self.step:9} {self.phase:17} {seconds:6.1f} s"


class Progress:
    """Prints a line when a step begins and one when it ends; on a terminal one line is rewritten instead."""

    def __init__(self, run: Path, out: TextIO) -> None:
        self._ledger, self._out = run / "ledger", out
        self._live = out.isatty()
        self._before = frozenset(path.name for path in self._files())
        self._states: dict[str, StepState] = {}

    def update(self) -> None:
        """Read what is new and print it; never raises for a ledger that is being written."""
        for path in self._files():
            if path.name in self._before:
                continue
            state = self._states.get(path.name)
            if state is None:
                state = self._states[path.name] = self._begin(path)
            if state.verdict is None and _read_end(path, state):
                self._say(state.line(time.time()), final=True)
        running = [state for state in self._states.values() if state.verdict is None]
        if self._live and running:
            self._say(running[-1].line(time.time()), final=False)

    def close(self) -> None:
        """Print what is left; a step without a closing record did not finish."""
        self.update()
        for state in self._states.values():
            if state.verdict is None:
                state.verdict, state.ended = "stopped", time.time()
                self._say(state.line(time.time()), final=True)

    def _begin(self, path: Path) -> StepState:
        step = path.stem.rpartition("-")[0]
        phase = PHASES[Step(step)] if step in set(Step) else ""
        state = StepState(step, phase, path.stat().st_ctime)
        if not self._live:
            self._say(state.line(state.started), final=True)
        return state

    def _files(self) -> Iterator[Path]:
        found = self._ledger.glob("*.jsonl") if self._ledger.is_dir() else iter(())
        yield from sorted(found, key=lambda path: path.stat().st_ctime)

    def _say(self, line: str, *, final: bool) -> None:
        if self._live:
            self._out.write(f"\r\x1b[K{line}" + ("\n" if final else ""))
        else:
            self._out.write(line + "\n")
        self._out.flush()


def _read_end(path: Path, state: StepState) -> bool:
    """Take the time and the verdict from the file's last whole line; tell whether that is the closing record."""
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    if not lines:
        return False
    last = json.loads(lines[-1])
    if last["task"] != END_TASK:
        return False
    state.verdict, state.ended = last["verdict"], last["time"]
    return True
