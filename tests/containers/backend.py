"""A compiled pipeline carried out task by task, in the order and under the conditions that its IR says.

It knows what Sextant's pipelines use: groups within groups, conditions on a text, the exit task, and a task that runs
also after a failure. Anything else in an IR is an error here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.containers.launcher import Artifact, Given, Task

from sextant_pipelines.cluster_ir import step_of

Json = dict[str, Any]
_CONDITION = re.compile(r"inputs\.parameter_values\['([^']+)'\] == '([^']*)'")
ALWAYS = "ALL_UPSTREAM_TASKS_COMPLETED"
Execute = Callable[[Task], Given]


@dataclass
class Backend:
    """Carries out one run; `execute` runs one task's container. `given` and `skipped` are by step."""

    ir: Json
    root: str
    execute: Execute
    given: dict[str, Given] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)

    def run(self, arguments: Mapping[str, str]) -> bool:
        """Carry out the pipeline; return whether it succeeded. What has no argument has its default."""
        known = self.ir["root"]["inputDefinitions"]["parameters"]
        defaults = {name: spec["defaultValue"] for name, spec in known.items() if "defaultValue" in spec}
        return self._group(self.ir["root"]["dag"], {**defaults, **arguments}, {})

    def _group(self, dag: Json, parameters: Mapping[str, str], artifacts: Mapping[str, Artifact]) -> bool:
        states: dict[str, bool | None] = {}
        outputs: dict[str, Task | None] = {}
        for name in _ordered(dag["tasks"]):
            spec = dag["tasks"][name]
            before = [states[each] for each in spec.get("dependentTasks", [])]
            always = spec.get("triggerPolicy", {}).get("strategy") == ALWAYS
            if not always and not all(before):
                states[name] = None
                continue
            values = {
                key: self._parameter(source, parameters, outputs)
                for key, source in spec.get("inputs", {}).get("parameters", {}).items()
            }
            given = {
                key: _artifact(source, artifacts, outputs)
                for key, source in spec.get("inputs", {}).get("artifacts", {}).items()
            }
            states[name] = self._task(name, spec, values, given, outputs)
        return all(state is not False for state in states.values())

    def _task(
        self,
        name: str,
        spec: Json,
        values: Mapping[str, str],
        artifacts: Mapping[str, Artifact],
        outputs: dict[str, Task | None],
    ) -> bool | None:
        """Run one task or group; None if its condition does not hold."""
        condition = spec.get("triggerPolicy", {}).get("condition")
        if condition is not None:
            match = _CONDITION.fullmatch(condition)
            assert match, f"no condition that this backend knows: {condition}"
            if values[match[1]] != match[2]:
                return None
        component = self.ir["components"][spec["componentRef"]["name"]]
        if "dag" in component:
            return self._group(component["dag"], values, artifacts)
        executor = component["executorLabel"]
        container = self.ir["deploymentSpec"]["executors"][executor]["container"]
        step = step_of(executor)
        task = Task(step, component, container, values, artifacts, f"{self.root}/{name}")
        outputs[name], self.tasks[step] = task, task
        self.given[step] = self.execute(task)
        return self.given[step].ended.code == 0

    def _parameter(self, source: Json, outer: Mapping[str, str], outputs: Mapping[str, Task | None]) -> str:
        if "taskOutputParameter" in source:
            producer = outputs[source["taskOutputParameter"]["producerTask"]]
            assert producer is not None
            return self.given[producer.name].parameters[source["taskOutputParameter"]["outputParameterKey"]]
        if "componentInputParameter" in source:
            return outer[source["componentInputParameter"]]
        return str(source["runtimeValue"]["constant"])


def _artifact(source: Json, outer: Mapping[str, Artifact], outputs: Mapping[str, Task | None]) -> Artifact:
    if "componentInputArtifact" in source:
        return outer[source["componentInputArtifact"]]
    producer = outputs[source["taskOutputArtifact"]["producerTask"]]
    assert producer is not None
    return producer.outputs[source["taskOutputArtifact"]["outputArtifactKey"]]


def _ordered(tasks: Mapping[str, Json]) -> Iterator[str]:
    """Yield the tasks' names, each after those that it depends on."""
    done: list[str] = []
    while len(done) < len(tasks):
        ready = [
            name
            for name, spec in tasks.items()
            if name not in done and set(spec.get("dependentTasks", [])) <= set(done)
        ]
        assert ready, "the tasks depend on one another in a circle"
        done.append(ready[0])
        yield ready[0]
