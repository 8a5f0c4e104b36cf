"""Rewrite every file of the repository that is made from code: `make generate`, run from the repository's root."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sextant_monitoring.boards import render_boards
from sextant_monitoring.prometheus_rule import render_prometheus_rule
from sextant_monitoring.rules_file import render_rules
from sextant_pipelines.cluster_plan import CLUSTER_PLAN, for_a_cluster
from sextant_pipelines.commands_page import commands_page
from sextant_pipelines.compile import compile_all
from sextant_pipelines.profile_page import profile_page
from sextant_pipelines.server_page import server_page
from sextant_plan.loading import load_plan
from sextant_plan.pages import pages

WATCHED_EXAMPLES = ("digits", "parcels")


def generated(root: Path) -> dict[Path, str]:
    """Return the text of each generated file by its path below the repository's root."""
    files = {Path(name): text for name, text in compile_all().items()}
    files |= {Path("docs") / name: text for name, text in pages().items()}
    files[Path("docs/reference/commands.md")] = commands_page()
    files[Path("docs/reference/server-options.md")] = server_page()
    files[Path("docs/reference/cluster-profile.md")] = profile_page()
    for name in WATCHED_EXAMPLES:
        plan = load_plan(root / "examples" / name / "plan.yaml")
        files[Path(f"monitoring/rules/{name}.yaml")] = render_rules(plan)
        files |= {Path("monitoring/dashboards") / board: text for board, text in render_boards(plan).items()}
    return files | shipped(root)


def shipped(root: Path) -> dict[Path, str]:
    """Return what manifests/ and the chart carry of the parcel example: its plan for a cluster, rules and boards."""
    folder = Path("examples/parcels")
    text = for_a_cluster((root / folder / "plan.yaml").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / CLUSTER_PLAN
        path.write_text(text, encoding="utf-8")
        plan = load_plan(path)
    rule, chart = render_prometheus_rule(plan), Path("charts/sextant/files")
    boards = {chart / "dashboards" / name: board for name, board in render_boards(plan).items()}
    return boards | {
        Path(f"manifests/components/monitoring/prometheusrule-{plan.name}.yaml"): rule,
        chart / "rules" / f"{plan.name}.yaml": rule,
        folder / CLUSTER_PLAN: text,
        Path("manifests/components/trigger/plan.yaml"): text,
        Path("manifests/overlays/kubeflow/plan.yaml"): text,
        chart / "plan.yaml": text,
    }


def main() -> int:
    """Write every generated file below the current folder; print those that changed."""
    for path, text in generated(Path()).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
