"""Every pod is restricted, every account has what it needs and no more, and no traffic passes that is not named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]

Object = dict[str, Any]
NAMESPACES = ("sextant", "sextant-system")
OF_OTHERS = {"kube-state-metrics", "sextant-watch"}  # in namespaces whose policies are not ours


def pod_specs(sources: dict[str, Object]) -> Iterator[tuple[str, Object, Object]]:
    """Yield (path, pod metadata, pod spec) of each workload."""
    for path, item in sources.items():
        spec = item.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template is not None and "spec" in template:
            yield path, template["metadata"], template["spec"]


def containers(pod: Object) -> list[Object]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_there_are_workloads_to_judge(sources: dict[str, Object]) -> None:
    assert {path.split("/")[1] for path, _, _ in pod_specs(sources)} >= {"rollout", "mlflow", "feast", "postgres"}


def test_every_pod_is_restricted(sources: dict[str, Object]) -> None:
    """Numeric non-root user, no privilege escalation, no capability, a seccomp profile, no host, a read-only root."""
    for path, _, pod in pod_specs(sources):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, path
        assert security["runAsUser"] > 0, path
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, path
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), path
        assert not any("hostPath" in volume for volume in pod.get("volumes", [])), path
        for container in containers(pod):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, path
            assert own["readOnlyRootFilesystem"] is True, path
            assert own["capabilities"] == {"drop": ["ALL"]}, path


@pytest.mark.parametrize("room", ["serving", "components", "pipelines"])
def test_each_image_gives_its_number_a_name(room: str) -> None:
    """Nothing in an image knows the user 65532: kopf and torch end when neither a list of users nor USER names it."""
    lines = (ROOT / room / "Dockerfile").read_text("utf-8").splitlines()
    after = " ".join(lines[lines.index("USER 65532:65532") :])
    assert " USER=sextant " in after


def test_the_serving_container_is_restricted_by_itself(sources: dict[str, Object]) -> None:
    """KServe gives a batcher or an agent that it adds the security context of this container, and not the pod's."""
    (container,) = sources["base/servingruntime.yaml"]["spec"]["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_the_container_that_fetches_a_bundle_is_restricted(sources: dict[str, Object]) -> None:
    """KServe 0.20 gives it nothing of the server's: the pod's fields and the patch for KServe's own object do."""
    pod = sources["components/inference/inferenceservice.yaml"]["spec"]["predictor"]["securityContext"]
    patch = yaml.safe_load((ROOT / "manifests" / "kserve" / "clusterstoragecontainer-patch.yaml").read_text("utf-8"))
    own = patch["spec"]["container"]["securityContext"]
    assert own == {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}}
    assert (pod["runAsNonRoot"], pod["runAsUser"], pod["seccompProfile"]) == (True, 65532, {"type": "RuntimeDefault"})
    assert pod["fsGroup"] == pod["runAsUser"]  # whose volume it writes the bundle into
    page = (ROOT / "docs" / "how-to" / "run-on-a-cluster.md").read_text("utf-8")
    assert "patch clusterstoragecontainer default --type=merge --patch-file manifests/kserve/" in page


def test_every_container_states_what_it_takes(sources: dict[str, Object]) -> None:
    """Requests and limits, so that the scheduler and the eviction order know it."""
    for path, _, pod in pod_specs(sources):
        for container in containers(pod):
            resources = container["resources"]
            assert set(resources["requests"]) == set(resources["limits"]) == {"cpu", "memory"}, path


def test_every_server_is_probed(sources: dict[str, Object]) -> None:
    for path, _, pod in pod_specs(sources):
        if not Path(path).name.startswith(("cronjob-", "job-")):
            for container in pod["containers"]:
                assert {"readinessProbe", "livenessProbe"} <= container.keys(), path


def test_only_the_controller_gets_a_token(sources: dict[str, Object]) -> None:
    """A pod without a token cannot ask the API for anything."""
    holders = [path for path, _, pod in pod_specs(sources) if pod.get("automountServiceAccountToken") is not False]
    assert holders == ["components/rollout/deployment.yaml"]


def test_no_role_has_a_wildcard_or_reads_secrets(sources: dict[str, Object]) -> None:
    """Roles are of one namespace each but for the one that scrapes nodes, and name what they need."""
    of_the_cluster = [path for path, item in sources.items() if item["kind"] == "ClusterRole"]
    assert of_the_cluster == ["components/hardware/clusterrole-prometheus.yaml"]
    for path, item in sources.items():
        for rule in item.get("rules", []):
            named = [*rule.get("apiGroups", []), *rule.get("resources", []), *rule["verbs"]]
            assert "*" not in named, path
            assert "secrets" not in named, path
            assert "delete" not in rule["verbs"], path
            assert path not in of_the_cluster or set(rule["verbs"]) <= {"get", "list", "watch"}


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_each_namespace_is_restricted_and_closed(namespace: str, sources: dict[str, Object]) -> None:
    """The API server refuses other pods, and traffic that no policy names is dropped both ways."""
    (declared,) = [
        item for item in sources.values() if item["kind"] == "Namespace" and item["metadata"]["name"] == namespace
    ]
    assert declared["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    (denied,) = [
        item["spec"]
        for item in sources.values()
        if item["kind"] == "NetworkPolicy" and item["metadata"] == {"name": "default-deny", "namespace": namespace}
    ]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_every_workload_has_a_network_policy_of_its_own(sources: dict[str, Object]) -> None:
    selected = {
        item["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/name")
        for item in sources.values()
        if item["kind"] == "NetworkPolicy"
    }
    for path, metadata, _ in pod_specs(sources):
        if not path.startswith("overlays/"):  # the namespace of the runs, and its policies, are Kubeflow's
            assert metadata["labels"]["app.kubernetes.io/name"] in selected, path


def test_who_may_send_may_also_be_received(sources: dict[str, Object]) -> None:
    """A named destination of one policy lets the sender in by its own, at the same port."""
    policies = [
        (value, item["spec"])
        for item in sources.values()
        if item["kind"] == "NetworkPolicy" and item["spec"]["podSelector"]
        for value in item["spec"]["podSelector"]["matchLabels"].values()
    ]

    def names(peer: Object) -> list[str]:
        selector = peer.get("podSelector", {})
        by_expression = [value for each in selector.get("matchExpressions", []) for value in each["values"]]
        return [*selector.get("matchLabels", {}).values(), *by_expression]

    def lets_in(target: str, sender: str) -> set[int]:
        rules = [
            rule
            for name, spec in policies
            if name == target
            for rule in spec.get("ingress", [])
            if any(sender in names(peer) or "podSelector" not in peer for peer in rule["from"])
        ]
        return {port["port"] for rule in rules for port in rule["ports"]}

    for sender, spec in policies:
        for rule in spec.get("egress", []):
            for target in (name for peer in rule.get("to", []) for name in names(peer) if name not in OF_OTHERS):
                wanted = {port["port"] for port in rule["ports"]}
                assert wanted & lets_in(target, sender), f"{sender} to {target}: {wanted}"


def test_pods_of_a_service_reach_each_other_by_the_name_that_they_ask(sources: dict[str, Object]) -> None:
    """Of all predictors: the name leads to the pods that KServe labels for the service, where the server listens."""
    service, policy, asker = (
        sources[f"components/inference/{name}.yaml"] for name in ("service", "networkpolicy", "inferenceservice")
    )
    runtime = sources["base/servingruntime.yaml"]["spec"]["containers"][0]
    pods = {"serving.kserve.io/inferenceservice": asker["metadata"]["name"]}
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    assert f"--peers={name}.{namespace}.svc" in asker["spec"]["predictor"]["model"]["args"]
    assert (service["spec"]["clusterIP"], service["spec"]["selector"]) == ("None", pods)
    (port,) = {each["port"] for each in service["spec"]["ports"]}
    assert f"--port={port}" in runtime["args"]
    assert policy["spec"]["podSelector"]["matchLabels"] == pods
    for rules, side in (("ingress", "from"), ("egress", "to")):
        (rule,) = policy["spec"][rules]
        assert rule == {side: [{"podSelector": {"matchLabels": pods}}], "ports": [{"port": port, "protocol": "TCP"}]}


def test_replicas_of_alertmanager_reach_each_other(sources: dict[str, Object]) -> None:
    """The operator has them gossip at 9094 by TCP and UDP; apart, each sends every message."""
    spec = sources["components/monitoring/networkpolicy-alertmanager.yaml"]["spec"]
    peers = [{"podSelector": spec["podSelector"]}]
    gossip = [{"port": 9094, "protocol": "TCP"}, {"port": 9094, "protocol": "UDP"}]
    assert {"from": peers, "ports": gossip} in spec["ingress"]
    assert {"to": peers, "ports": gossip} in spec["egress"]
