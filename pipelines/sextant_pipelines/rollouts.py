"""A canary on this machine: from the release that a run has staged to the version in service, or back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_components.deployment.roll_out import make_live
from sextant_components.runs.context import RunContext, Step, open_run
from sextant_pipelines.local import held
from sextant_pipelines.runtime import close_run
from sextant_plan.canary_criteria import runs_in_one_server
from sextant_plan.errors import ExitCode, UsageError
from sextant_plan.promotion import PromotionLost
from sextant_plan.verdicts import exit_code
from sextant_serving.rollout.files import RolloutFolder, rollout_folder
from sextant_serving.rollout.local import Pair
from sextant_serving.rollout.release import Release
from sextant_serving.rollout.state import Phase, RolloutState

if TYPE_CHECKING:
    from sextant_serving.rollout.annotations import ServiceDocuments

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """Where a rollout is: below a home, or in a cluster's namespace; `name` may be left out where there is only one."""

    home: Path
    name: str | None
    namespace: str | None = None

    def find(self) -> tuple[RolloutFolder | ServiceDocuments, Release]:
        """Return the rollout's documents and its release. Raises UsageError if there is none or several."""
        if self.namespace is None:
            return staged_rollout(self.home, self.name)
        documents = service_documents(self.namespace, self.name)
        release = documents.release()
        if release is None:
            raise UsageError(f"{documents.name}: no release was submitted. Use sextant rollout submit.")
        return documents, release


def service_documents(namespace: str, name: str | None) -> ServiceDocuments:
    """Return the documents of an InferenceService. Raises UsageError without its name."""
    from sextant_serving.rollout.annotations import ServiceDocuments
    from sextant_serving.rollout.kube import Kube

    if name is None:
        raise UsageError("--namespace goes with --name, the InferenceService.")
    return ServiceDocuments(Kube(), namespace, name)


def staged_rollout(home: Path, name: str | None) -> tuple[RolloutFolder, Release]:
    """Return the rollout of this model, or the only one there is. Raises UsageError if there is none or several."""
    names = sorted(path.name for path in (home / "rollouts").glob("*") if path.is_dir())
    if name is None and len(names) > 1:
        raise UsageError(f"{home}: rollouts of {', '.join(names)}. Give --name.")
    wanted = name or (names[0] if names else "")
    folder = rollout_folder(home, wanted) if wanted in names else None
    release = folder.release() if folder else None
    if folder is None or release is None:
        raise UsageError(f"{home}: no canary is staged here. Run a plan with rollout.strategy: canary first.")
    return folder, release


def start_rollout(home: Path, folder: RolloutFolder, release: Release, *, host: str, port: int, tell: Tell) -> ExitCode:
    """Serve both versions and roll out until it ends or the process is told to stop; return the exit code.

    One that has ended stays so. Raises PromotionLost if the version in service is not the one that the release was
    judged against.
    """
    from sextant_components.closing.conclude import run_conclude
    from sextant_serving.home import served_model
    from sextant_serving.registry import open_registry
    from sextant_serving.rollout.journal import RegistryJournal
    from sextant_serving.rollout.local import run_rollout, running_pair

    last = folder.load()
    if last is not None and last.digest == release.digest and last.terminal and last.phase is not Phase.HELD:
        return exit_code(last.verdict)
    if runs_in_one_server(release.read_plan()):
        raise UsageError(
            "rollout.strategy: ab and shadow are rolled out on a cluster (sextant rollout submit). On this machine, "
            "serve the challenger beside the champion and compare: docs/how-to/try-a-challenger.md."
        )
    stable, context, registry = served_model(home), _run_of(home, release), open_registry(home)
    if stable.digest != release.digest and stable.version != release.replaces:
        raise PromotionLost(release.name, judged_against=release.replaces, champion=stable.version)
    journal = RegistryJournal(
        release,
        registry,
        lambda: context.ledger(Step.ROLL_OUT),
        lambda before, after: _announce(before, after, tell),
        lambda: make_live(home, registry, release.name),
    )
    with held(context.run), running_pair(stable, release, host=host, port=port) as pair, _stop_signals() as stop:
        _greet(pair, release, tell)
        state = run_rollout(release, pair, folder, registry, journal, stop=stop)
    if not state.terminal:
        tell("stopped before its end; the same command goes on from here")
        return ExitCode.GATE_UNKNOWN
    run_conclude(context)
    close_run(str(context.run))
    return exit_code(state.verdict)


def describe(release: Release, state: RolloutState | None) -> list[tuple[str, str]]:
    """Return a rollout as lines of a name and a text."""
    from sextant_plan.canary_criteria import canary_criteria
    from sextant_plan.canary_evidence import judge_evidence
    from sextant_serving.rollout.comparing import CRITERION, comparing_of
    from sextant_serving.rollout.observing import measured

    lines = [("release", f"{release.name} version {release.version} beside {release.replaces or 'nothing'}")]
    if state is None or state.digest != release.digest:
        return [*lines, ("phase", "staged")]
    lines += [("phase", f"{state.phase}, weight {state.weight} %, look {state.looks}")]
    lines += [("because", state.reason)] if state.reason else []
    for rule in canary_criteria(release.read_plan()):
        evidence = state.evidence_of(rule.criterion.id)
        lines.append((str(judge_evidence(rule, evidence)), f"{rule.criterion.id}: {measured(rule, state)}"))
    comparing = comparing_of(release.read_plan())
    if comparing is not None:
        verdict, said = comparing.verdict(state.worth)
        lines.append((str(verdict), f"{CRITERION}: {said}"))
    return lines


def _run_of(home: Path, release: Release) -> RunContext:
    return open_run(str(home / "runs" / release.run_id))


def _greet(pair: Pair, release: Release, tell: Tell) -> None:
    tell(f"serving {release.name} at {pair.url}; the canary alone at {pair.servers['canary'].url}")


def _announce(before: RolloutState, after: RolloutState, tell: Tell) -> None:
    if (before.phase, before.weight, before.looks) != (after.phase, after.weight, after.looks):
        tell(
            f"{after.phase}, weight {after.weight} %, look {after.looks}"
            + (f": {after.reason}" if after.reason else "")
        )


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Give an event that SIGTERM and SIGINT set for the duration of the block."""
    stop = threading.Event()
    names = (signal.SIGTERM, signal.SIGINT)
    previous = {name: signal.signal(name, lambda *_: stop.set()) for name in names}
    try:
        yield stop
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)
