"""What manifests/ and the chart carry of the parcel example is what the code makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sextant_monitoring.prometheus_rule import render_prometheus_rule
from sextant_monitoring.rules_file import rule_groups
from sextant_pipelines.cluster_profile import load_profile
from sextant_pipelines.generate import shipped
from sextant_pipelines.submission import unreceived
from sextant_plan.canary_criteria import canary_criteria
from sextant_plan.loading import load_plan
from sextant_plan.schema import Plan
from sextant_serving.architectures import needs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def plan() -> Plan:
    return load_plan(ROOT / "examples" / "parcels" / "cluster-plan.yaml", architectures=needs())


def test_the_shipped_files_are_current() -> None:
    """`make generate` was run after the last change of the plan, the rules or the boards."""
    stale = [str(path) for path, text in shipped(ROOT).items() if (ROOT / path).read_text("utf-8") != text]
    assert stale == []


def test_the_clusters_plan_lets_a_canary_decide_and_is_else_the_examples(plan: Plan) -> None:
    """There an immediate promotion would reach the registry and no server; a first version goes live in either."""
    laptop = load_plan(ROOT / "examples" / "parcels" / "plan.yaml")
    assert (laptop.rollout.strategy, plan.rollout.strategy) == ("immediate", "canary")
    assert [rule.criterion.id for rule in canary_criteria(plan)] == ["errors"]
    assert unreceived(plan, "retrain") is None
    changed = {"rollout", "criteria", "serving"}
    assert plan.model_dump(exclude=changed) == laptop.model_dump(exclude=changed)
    assert plan.serving.model_copy(update={"log": laptop.serving.log}) == laptop.serving
    assert [each.model_copy(update={"enforce": []}) for each in plan.criteria] == [
        each.model_copy(update={"enforce": []}) for each in laptop.criteria
    ]


def test_the_clusters_plan_logs_what_its_hourly_judgement_reads(plan: Plan) -> None:
    """Without a sample every window is empty, and no label finds a prediction."""
    assert plan.serving.log.sample == 1
    assert plan.serving.log.hashed == []  # a server without a key would not start


def test_a_prometheus_rule_holds_the_rule_file(plan: Plan) -> None:
    document: dict[str, Any] = yaml.safe_load(render_prometheus_rule(plan))
    assert document["spec"] == yaml.safe_load(yaml.safe_dump(rule_groups(plan)))
    assert document["metadata"]["annotations"]["sextant.dev/plan-hash"].startswith("sha256:")


def test_every_board_of_the_plan_is_a_config_map(plan: Plan) -> None:
    """A new board would otherwise never reach Grafana."""
    listed = yaml.safe_load((ROOT / "monitoring" / "dashboards" / "kustomization.yaml").read_text("utf-8"))
    files = {name for generator in listed["configMapGenerator"] for name in generator["files"]}
    assert files == {path.name for path in shipped(ROOT) if path.parent.name == "dashboards"}


def test_the_shipped_profiles_are_valid(tmp_path: Path) -> None:
    """The trigger stops at a profile that it cannot read; production's names its image by digest."""
    trial = load_profile(ROOT / "manifests" / "components" / "trigger" / "profile.yaml")
    patch = yaml.safe_load((ROOT / "manifests/overlays/production/configmap-trigger.yaml").read_text("utf-8"))
    (tmp_path / "profile.yaml").write_text(patch["data"]["profile.yaml"], encoding="utf-8")
    production = load_profile(tmp_path / "profile.yaml")
    assert trial.any_image
    assert not production.any_image
    assert (trial.store, trial.home, trial.data) == (production.store, production.home, production.data)
