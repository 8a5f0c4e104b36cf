"""What the alerts and the board on hardware read is scraped: by the names that its projects give it, and no more."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.programs import program

ROOT = Path(__file__).parents[2]
PROMETHEUS = {"app.kubernetes.io/name": "prometheus"}
OF_A_POD = re.compile(r"(\w+)\{pod=~")
PORTS = {
    "dcgm-exporter": {9400},
    "kube-state-metrics": {8080, 8443},
    "kubelet": {10250},
    "nvidia-dcgm-exporter": {9400},
}

Object = dict[str, Any]


def monitors(sources: dict[str, Object]) -> dict[str, Object]:
    """Return the ServiceMonitors of the component by name."""
    items = [item for path, item in sources.items() if path.startswith("components/hardware/")]
    return {item["metadata"]["name"]: item["spec"] for item in items if item["kind"] == "ServiceMonitor"}


def kept_by(sources: dict[str, Object], series: str, namespace: str) -> set[str]:
    """Return the monitors all of whose endpoints keep a series of a pod in a namespace, as Prometheus relabels it."""
    return {
        name
        for name, spec in monitors(sources).items()
        if all(_keeps(endpoint, f"{series};{namespace}") for endpoint in spec["endpoints"])
    }


def _keeps(endpoint: Object, joined: str) -> bool:
    (rule,) = endpoint["metricRelabelings"]
    assert (rule["action"], rule["sourceLabels"]) == ("keep", ["__name__", "namespace"])
    return re.fullmatch(rule["regex"], joined) is not None


def read_of_pods() -> Iterator[str]:
    """Yield each series that a board or a rule of the example reads by the name of a pod."""
    boards = (ROOT / "monitoring" / "dashboards").glob("parcel-labelling-*.json")
    panels = [panel for board in boards for panel in _panels(json.loads(board.read_text("utf-8")))]
    rules = (ROOT / "manifests/components/monitoring/prometheusrule-parcel-labelling.yaml").read_text("utf-8")
    for text in [*panels, rules]:
        yield from OF_A_POD.findall(text)


def _panels(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["expr"]] if isinstance(value.get("expr"), str) else [])
        value = list(value.values())
    for item in value if isinstance(value, list) else []:
        yield from _panels(item)


def test_every_series_of_a_pod_that_is_read_is_scraped(sources: dict[str, Object]) -> None:
    """A critical alert on a series that nobody scrapes never fires, and nobody hears of that."""
    read = set(read_of_pods())
    assert {"kube_pod_container_status_restarts_total", "DCGM_FI_DEV_XID_ERRORS"} < read
    assert [series for series in sorted(read) if not kept_by(sources, series, "sextant")] == []


@pytest.mark.parametrize(
    ("series", "namespace"),
    [("container_memory_working_set_bytes", "kube-system"), ("container_network_receive_bytes_total", "sextant"),
     ("kube_pod_info", "sextant"), ("kube_pod_container_status_restarts_total", "sextant-system")],
)  # fmt: skip
def test_no_other_series_of_the_cluster_is_kept(series: str, namespace: str, sources: dict[str, Object]) -> None:
    """Else a large cluster fills the Prometheus that rollouts are decided by."""
    assert kept_by(sources, series, namespace) == set()


def test_the_labels_of_what_is_told_of_win_over_those_of_who_tells(sources: dict[str, Object]) -> None:
    """Without honorLabels `pod` would be the exporter's, and a model's pods `exported_pod`."""
    for name, spec in monitors(sources).items():
        assert all(endpoint["honorLabels"] for endpoint in spec["endpoints"]), name


def test_prometheus_may_reach_all_that_it_scrapes(sources: dict[str, Object]) -> None:
    """By the policies of its pod, at each exporter's own port."""
    assert monitors(sources).keys() == PORTS.keys()
    policies = [item["spec"] for item in sources.values() if item["kind"] == "NetworkPolicy"]
    rules = [rule for spec in policies if spec["podSelector"].get("matchLabels") == PROMETHEUS
             for rule in spec.get("egress", [])]  # fmt: skip
    for name, ports in PORTS.items():
        open_ports = {
            port["port"] for rule in rules for port in rule["ports"] if "to" not in rule or name in str(rule["to"])
        }
        assert ports <= open_ports, name


@pytest.mark.servers
def test_a_pod_of_whose_hardware_nothing_is_known_is_told_and_no_other(
    sources: dict[str, Object], tmp_path: Path
) -> None:
    """Each source by itself; the exporter of GPUs only for a pod that has one."""
    rule = sources["components/hardware/prometheusrule-hardware.yaml"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]), encoding="utf-8")
    ready, seen = 'sextant_ready{pod="%s",model="m",instance="%s:8080"}', '%s{pod="%s",container="c"}'
    told = ("kube_pod_container_status_restarts_total", "container_memory_working_set_bytes")
    series = [ready % (pod, pod) for pod in ("seen", "unseen", "gpu")]
    series += [seen % (name, pod) for name in told for pod in ("seen", "gpu")]
    series += ['kube_pod_container_resource_limits{pod="gpu",resource="nvidia_com_gpu"}']
    expected = [("unseen", "kube-state-metrics"), ("unseen", "kubelet"), ("gpu", "dcgm-exporter")]
    common = {"alertname": "SextantHardwareUnseen", "severity": "warning"}
    alerts = [
        {"exp_labels": common | {"pod": pod, "source": source}, "exp_annotations": _annotations(rule, source, pod)}
        for pod, source in expected
    ]
    case = {
        "interval": "1m",
        "input_series": [{"series": each, "values": "1+0x20"} for each in series],
        "alert_rule_test": [{"eval_time": "16m", "alertname": "SextantHardwareUnseen", "exp_alerts": alerts}],
    }
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [case]}), "utf-8")
    command = [program("promtool"), "test", "rules", "tests.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _annotations(rule: Object, source: str, pod: str) -> dict[str, str]:
    (found,) = [each for each in rule["spec"]["groups"][0]["rules"] if each["labels"]["source"] == source]
    return {key: text.replace("{{ $labels.pod }}", pod) for key, text in found["annotations"].items()}


def test_the_runbook_of_what_is_unseen_is_there(sources: dict[str, Object]) -> None:
    """Its page tells the alert by name."""
    for group in sources["components/hardware/prometheusrule-hardware.yaml"]["spec"]["groups"]:
        for rule in group["rules"]:
            assert rule["alert"] in (ROOT / rule["annotations"]["runbook_url"]).read_text("utf-8")
