"""What a service and its rollout outlive: pods that are replaced, and the death of whatever the rollout rests on.

One InferenceService under load. Its pod is replaced twice; then a canary is rolled out, which is held at its first
share while Prometheus, the node agent, the API server and the acting controller are killed one after the other. Then
people let it go on and accept it by the commands that users have.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.rollout.controllers import Controllers, wait_for
from tests.cluster.rollout.daemons import node_process
from tests.cluster.rollout.gateways import restart_gateway

from sextant_plan.verdicts import Verdict
from sextant_serving.rollout.state import Phase, RolloutState

# Slow, and apart from the others: an API server that is away stops the gateway's control plane too.
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]

NAME = "steady"
USERS, TASK = ["ada", "bo"], "read a digit"
ROLLOUT = {
    "strategy": "canary", "steps": [50, 100], "interval": "3s", "min_looks": 1, "deadline": "9m",
    "acceptance": {"users": USERS, "tasks": [TASK], "satisfied_at_least": 0.1},
}  # fmt: skip
KILLED = ("prometheus", "kubelet", "kube-apiserver", "controller")


@dataclass
class Story:
    """What happened: answers by code while pods were replaced and in all, looks around each death, and the end."""

    drained: dict[str, Counter[str]] = field(default_factory=dict)
    looks: dict[str, tuple[int, int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    states: list[RolloutState] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def story(workshop: Any, trained_bundle: Path) -> Iterator[Story]:
    stable = workshop.changed_bundle(trained_bundle, serving={"queue_rows": 901})
    told = Story()
    with workshop.services(**{NAME: stable}):
        told.drained = replace_pods(workshop, stable)
        canary = workshop.changed_bundle(trained_bundle, serving={"queue_rows": 902})
        release = workshop.release_of(NAME, canary, rollout=ROLLOUT)
        workshop.documents(NAME).submit(release, f"pvc://bundles/{canary.name}")
        said("pause", workshop)
        wait_for("the canary", partial(workshop.canary_ready, NAME))
        load = workshop.load_of(NAME, stable)
        with load, workshop.controllers() as controllers:
            controllers.wait_for("a look", partial(has_looked, workshop, 1))
            for victim in KILLED:
                before = workshop.state_of(NAME).looks
                start = time.monotonic()
                disturb(victim, workshop, controllers)
                controllers.wait_for(f"a look after {victim}", partial(has_looked, workshop, before + 1))
                told.seconds[victim] = time.monotonic() - start
                told.looks[victim] = before, workshop.state_of(NAME).looks
            told.states.append(workshop.state_of(NAME))
            said("resume", workshop)
            controllers.wait_for("the users' turn", partial(waits_for_users, workshop))
            told.states.append(workshop.state_of(NAME))
            for user in USERS:
                said("accept", workshop, "--user", user, "--task", TASK, "--stars", "5")
            said("accept", workshop, "--sign", "ada")
            controllers.wait_for("the end", partial(workshop.ended, NAME))
        told.states.append(workshop.state_of(NAME))
        told.statuses = load.statuses
        told.document = workshop.cluster.get("inferenceservice", NAME)
        yield told


def replace_pods(workshop: Any, bundle: Path) -> dict[str, Counter[str]]:
    """Replace the pod twice under clients of the gateway and of the Service; return their answers by code."""
    through = {"gateway": workshop.gateway, "Service": workshop.predictor_url(NAME, "blue")}
    deployment = f"deployment/{NAME}-blue-predictor"
    loads = {
        "gateway": workshop.load_of(NAME, bundle, predictors=("blue",)),
        "Service": workshop.load_of(NAME, bundle, predictors=("blue",), address=through["Service"]),
    }
    with contextlib.ExitStack() as stack:
        for load in loads.values():
            stack.enter_context(load)
        for _ in range(2):
            workshop.cluster.kubectl("rollout", "restart", deployment)
            workshop.cluster.kubectl("rollout", "status", deployment, "--timeout=180s")
            wait_for("the old pod's end", lambda: len(pods_of(workshop)) == 1)
    return {name: load.statuses for name, load in loads.items()}


def pods_of(workshop: Any) -> list[str]:
    found = workshop.cluster.kubectl("get", "pods", "-l", f"app=isvc.{NAME}-blue-predictor", "-o", "name")
    return list(found.stdout.split())


def has_looked(workshop: Any, times: int) -> bool:
    return bool(workshop.reached(NAME, Phase.OBSERVING) and workshop.state_of(NAME).looks >= times)


def waits_for_users(workshop: Any) -> bool:
    state = workshop.state_of(NAME)
    return state.phase is Phase.ACCEPTING and "user acceptance" in state.reason


def disturb(victim: str, workshop: Any, controllers: Controllers) -> None:
    """Kill one of them, and start it again once somebody has missed it."""
    missed = "no lease"  # what a controller says when the API server does not answer
    match victim:
        case "controller":
            controllers.kill_the_leader()
        case "prometheus":
            workshop.prometheus_server.kill()
            wait_for("a look in vain", lambda: "no counters" in workshop.state_of(NAME).reason)
            workshop.prometheus_server.start()
        case "kubelet":
            with killed("kubelet"):
                before = workshop.state_of(NAME).looks
                controllers.wait_for("a look without a node agent", partial(has_looked, workshop, before + 1))
            workshop.cluster.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=120s")
        case _:
            unheard = controllers.log.read_text().count(missed)
            with killed("kube-apiserver"):
                wait_for("a controller that misses it", lambda: controllers.log.read_text().count(missed) > unheard)
            wait_for("the API server", partial(answers, workshop))
            restart_gateway(workshop.cluster)


@contextlib.contextmanager
def killed(name: str) -> Iterator[None]:
    process = node_process(name)
    process.kill()
    try:
        yield
    finally:
        process.start()


def answers(workshop: Any) -> bool:
    return bool(workshop.cluster.kubectl("get", "--raw", "/readyz", check=False).returncode == 0)


def said(verb: str, workshop: Any, *options: str) -> None:
    """Say something to the rollout as people do."""
    command = [
        sys.executable, "-m", "sextant_pipelines.cli", "rollout", verb, *options,
        "--namespace", workshop.cluster.namespace, "--name", NAME,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("through", ["gateway", "Service"])
def test_pods_that_are_replaced_lose_no_request(story: Story, through: str, record_property: Any) -> None:
    """With kept connections through the gateway, and with a new one for each request past it."""
    statuses = story.drained[through]
    record_property("requests", statuses.total())
    assert statuses.total() > 0
    assert set(statuses) == {"200"}, statuses


@pytest.mark.parametrize("victim", KILLED)
def test_a_rollout_goes_on_after_the_death_of(victim: str, story: Story, record_property: Any) -> None:
    """The next look is counted once it is back, and everything before is kept."""
    record_property("seconds", round(story.seconds[victim], 1))
    before, after = story.looks[victim]
    assert after > before


def test_no_request_fails_meanwhile(story: Story, record_property: Any) -> None:
    """From the first look to the canary in its new place."""
    record_property("requests", story.statuses.total())
    assert set(story.statuses) == {"200"}, story.statuses


def test_a_pause_holds_the_share_until_it_is_over(story: Story) -> None:
    """Looks go on meanwhile."""
    paused = story.states[0]
    assert (paused.phase, paused.weight) == (Phase.OBSERVING, 50)
    assert paused.paused_since is not None


def test_users_have_the_last_word_before_all_traffic(story: Story, workshop: Any) -> None:
    """The canary waits at its share for ratings and a signature, and is promoted by them."""
    waiting, end = story.states[1:]
    assert (waiting.weight, waiting.verdict) == (50, Verdict.UNKNOWN)
    assert "0 of 2 users have rated" in waiting.reason
    assert (end.phase, end.verdict) == (Phase.PROMOTED, Verdict.PASS), end.reason
    assert story.document["spec"]["predictor"]["name"] == "green"
    champion = workshop.registry.champion(NAME)
    assert champion is not None
    assert champion.digest == end.digest
