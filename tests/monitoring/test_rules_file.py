"""The rule file: complete annotations, one runbook page for each alert, and the committed example."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sextant_monitoring.rules_file import render_rules, rule_groups
from sextant_plan.alerts import AlertKind
from sextant_plan.loading import load_plan
from sextant_plan.schema import Plan

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "monitoring" / "rules").glob("*.yaml"))
PARTS = ("**Means.**", "**Check**", "**Act**", "**Roll back**")
PlanMaker = Callable[..., Plan]


def _alerts(plan: Plan) -> list[dict[str, Any]]:
    return [rule for group in rule_groups(plan)["groups"] for rule in group["rules"] if "alert" in rule]


def test_every_kind_of_alert_is_rendered_for_a_plan_that_asks_for_all(make_plan: PlanMaker) -> None:
    """No alert exists on paper only."""
    assert {alert["alert"] for alert in _alerts(make_plan())} == {kind.alert for kind in AlertKind}


def test_every_alert_has_its_runbook_and_every_runbook_its_alert(make_plan: PlanMaker) -> None:
    """The page that an alert names is there, under the alert's name, and none is left over."""
    named = {alert["annotations"]["runbook_url"]: alert["alert"] for alert in _alerts(make_plan())}
    pages = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert named.keys() == pages.keys()
    for page, alert in named.items():
        assert pages[page].startswith(f"# {alert}\n")
        assert [
            part for part in ("**Means.**", "**Check**", "**Act**", "**Roll back**") if part not in pages[page]
        ] == []


def test_every_alert_says_what_where_and_how_bad(make_plan: PlanMaker) -> None:
    """Summary, description, severity and plan are on each; the criterion where there is one."""
    for alert in _alerts(make_plan()):
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        assert alert["labels"]["plan"] == "parcels"
        about_a_criterion = alert["alert"] not in {
            "SextantNoReadyServer",
            "SextantFailureLasting",
            "SextantBudgetBurning",
            "SextantHardwareFaulty",
        }
        assert ("criterion" in alert["labels"]) == about_a_criterion


def test_equal_plans_render_to_equal_text(make_plan: PlanMaker) -> None:
    """The file can be compared with what is in the cluster; YAML aliases, which Prometheus allows, are not used."""
    text = render_rules(make_plan())
    assert text == render_rules(make_plan())
    assert yaml.safe_load(text) == rule_groups(make_plan())
    assert "&id" not in text


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_committed_rules_are_those_of_their_plan(path: Path) -> None:
    """`make generate` would change nothing."""
    assert path.read_text() == render_rules(load_plan(ROOT / "examples" / path.stem / "plan.yaml"))


@pytest.mark.servers
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_promtool_accepts_the_committed_rules(path: Path, promtool: str) -> None:
    """The real parser finds nothing wrong, duplicates included."""
    command = [promtool, "check", "rules", "--lint=all", "--lint-fatal", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
