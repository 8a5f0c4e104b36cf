"""`sextant drill`: a failure caused on purpose, measured until it is noticed and until it is over."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sextant_pipelines.options import home_option, json_option, print_json
from sextant_plan.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sextant_plan.drills import Conducted, Outcome
    from sextant_plan.schema import Plan
    from sextant_plan.types import DrillName

    Hold = Callable[[DrillName], Outcome]


@click.command("drill")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--plan",
    "plan_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default="plan.yaml",
    show_default=True,
    help="The plan whose failure modes are rehearsed.",
)
@click.option("--database", metavar="URL", help="The registry's PostgreSQL, which restore-registry then restores.")
@click.option("--store", metavar="URL", help="The runs' object store, which restore-objects then restores.")
@click.option("--namespace", help="The InferenceService's namespace: dead-pod then takes a pod of the service itself.")
@click.option("--prometheus", metavar="URL", help="With --namespace: the Prometheus whose alerts have to notice it.")
@click.option("--url", metavar="URL", help="With --namespace: where clients reach the service.")
@home_option
@json_option
def command(
    *,
    names: tuple[str, ...],
    plan_path: Path,
    database: str | None,
    store: str | None,
    namespace: str | None,
    prometheus: str | None,
    url: str | None,
    home: Path,
    as_json: bool,
) -> int:
    """Rehearse failures of the model in service; without NAME, list the drills and when each was last held.

    NAME is a drill or a failure mode of the plan. Without --namespace each drill works on servers and copies of its
    own, and what is in service is not touched. Exits 0 if every failure was noticed and over in the plan's time, 1 if
    not.
    """
    from sextant_plan.drills import last_drills
    from sextant_plan.loading import load_plan

    if not plan_path.exists():
        raise UsageError(f"{plan_path}: the plan does not exist. Name another with --plan.")
    plan = load_plan(plan_path)
    if not names:
        _list(plan, last_drills(home, plan.name), as_json=as_json)
        return int(ExitCode.OK)
    chosen = list(dict.fromkeys(_drill(plan, name) for name in names))
    if namespace is None:
        if prometheus or url:
            raise UsageError("--prometheus and --url are of a service on a cluster: name its --namespace too.")
        hold = _on_this_machine(plan, home, database, store)
    else:
        hold = _on_a_cluster(plan, home, namespace, prometheus, url)
    outcomes = [_told(drill, hold) for drill in chosen]
    if as_json:
        print_json([{**each.model_dump(mode="json"), "verdict": each.verdict} for each in outcomes])
    passed = all(outcome.verdict == "pass" for outcome in outcomes)
    return int(ExitCode.OK if passed else ExitCode.GATE_FAILED)


def _drill(plan: Plan, name: str) -> DrillName:
    """Return the drill of this name, or the one that rehearses the failure mode of this name. Raises UsageError."""
    from sextant_plan.drills import drill_of
    from sextant_plan.fault import choose
    from sextant_plan.types import DrillName

    drills = {each.value for each in DrillName}
    if name in drills:
        return DrillName(name)
    modes = {mode.mode: drill_of(mode) for mode in plan.failure}
    if name in modes:
        found = modes[name]
        if found is None:
            raise UsageError(
                f"{name}: no drill rehearses this failure mode. Add drill: to it, one of {sorted(drills)}."
            )
        return found
    raise UsageError(f"{name}: neither a drill nor a failure mode of the plan. {choose(name, drills | modes.keys())}.")


def _on_this_machine(plan: Plan, home: Path, database: str | None, store: str | None) -> Hold:
    from sextant_components.deployment.drills.conduct import hold_local

    return lambda drill: hold_local(plan, home, drill, database=database, store=store)


def _on_a_cluster(plan: Plan, home: Path, namespace: str, prometheus: str | None, url: str | None) -> Hold:
    """Return what holds a drill on the cluster of KUBECONFIG. Raises UsageError where an option is missing."""
    from sextant_components.deployment.drills.conduct import hold_on_cluster
    from sextant_components.deployment.drills.dead_pod import Site
    from sextant_serving.rollout.kube import Kube

    if prometheus is None or url is None:
        raise UsageError("--namespace needs --prometheus, which has to notice the failure, and --url for the clients.")
    site = Site(Kube(), namespace, prometheus.rstrip("/"), url)
    return lambda drill: hold_on_cluster(plan, home, drill, site)


def _told(drill: DrillName, hold: Hold) -> Outcome:
    click.echo(f"holding  {drill}", err=True)
    outcome = hold(drill)
    for line in _lines(outcome):
        click.echo(line, err=True)
    return outcome


def _lines(outcome: Outcome) -> list[str]:
    noticed, over = _seconds(outcome.detected_after), _seconds(outcome.recovered_after)
    allowed = f", allowed {outcome.recover_within:g} s" if outcome.recover_within is not None else ""
    asked = f"; {outcome.failed} of {outcome.requests} requests failed" if outcome.requests else ""
    return [
        f"{outcome.verdict:8} {outcome.drill}: {outcome.fault}",
        f"{'':8} noticed after {noticed} by {outcome.detected_by}",
        f"{'':8} over after {over}{allowed}: {outcome.recovery}{asked}",
        *(f"{'':8} {name}: {value}" for name, value in outcome.facts.items()),
    ]


def _seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"


def _list(plan: Plan, last: dict[DrillName, Conducted], *, as_json: bool) -> None:
    from sextant_plan.drills import modes_of, wanted_drills
    from sextant_plan.types import DAY, DrillName

    wanted, now = wanted_drills(plan), time.time()
    if as_json:
        print_json([_row(plan, drill, last.get(drill), asked=drill in wanted, now=now) for drill in DrillName])
        return
    for drill in DrillName:
        held = last.get(drill)
        age = "never held" if held is None else f"{held.verdict} {(now - held.time) / DAY:.1f} d ago"
        asked = ", required for promotion" if drill in wanted else ""
        modes = ", ".join(mode.mode for mode in modes_of(plan, drill))
        click.echo(f"{drill:20} {age}{asked}" + (f" ({modes})" if modes else ""))


def _row(plan: Plan, drill: DrillName, held: Conducted | None, *, asked: bool, now: float) -> dict[str, object]:
    from sextant_plan.drills import modes_of

    return {
        "drill": drill,
        "modes": [mode.mode for mode in modes_of(plan, drill)],
        "required": asked,
        "verdict": held.verdict if held else None,
        "age": now - held.time if held else None,
    }
