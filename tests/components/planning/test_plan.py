"""The plan step: what is frozen, and what each heading of the feasibility says of a plan and its data."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sextant_components.data.sources import read_source
from sextant_components.modelling.baseline import baseline_rows, fit_baseline
from sextant_components.planning.feasibility.availability import needed_rows
from sextant_components.planning.plan import run_plan
from sextant_plan.canonical import canonical_json
from sextant_plan.entrypoints import EntrypointError, entrypoint_digest, load_entrypoint
from sextant_plan.schema import Baseline, Criterion
from sextant_plan.verdicts import Verdict

pytestmark = pytest.mark.usefixtures("load_already_measured")


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's package `shade_rules`, importable during the test."""
    package = tmp_path / "site" / "shade_rules"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "rules.py").write_text(
        "NAMES = ('dim', 'grey', 'pale')\n"
        "def by_item(rows):\n"
        "    return [NAMES[int(row['item'][2:]) % 3] for row in rows]\n"
        "def always_dim(rows):\n"
        "    return ['dim' for _ in rows]\n"
        "def too_few(rows):\n"
        "    return ['dim']\n"
        "def broken(rows):\n"
        "    raise KeyError('mass')\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(package.parent))
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "shade_rules"]:
        del sys.modules[name]


def test_the_frozen_plan_is_stored_under_its_hash(workshop: Any, records: Any) -> None:
    """The artifact of the record is the plan whose hash every record carries."""
    context = workshop.open()
    run_plan(context)
    record = records(context, "plan")["plan frozen"]
    assert record.artifacts == {"plan": context.plan_hash} == {"plan": record.plan_hash}
    assert context.artifacts.read_bytes(context.plan_hash) == canonical_json(context.plan.canonical())


def test_a_sound_plan_passes_every_heading(workshop: Any, records: Any) -> None:
    """Six headings, the baseline and the cost-benefit sheet are each a record."""
    workshop.plan["goal"]["economics"] = {"value_per_correct": 1, "cost_per_error": 1, "predictions_per_day": 100}
    context = workshop.open()
    assert run_plan(context) is Verdict.PASS
    tasks = records(context, "plan")
    assert {task for task in tasks if task.startswith("feasibility")} == {
        f"feasibility: {heading}"
        for heading in (
            "data availability",
            "learning curve",
            "applicability",
            "bayes error",
            "baseline",
            "legal and ethics",
            "load pre-test",
            "robustness and scalability",
            "explainability",
            "resources",
            "staleness",
        )
    }
    # At the limit of 0.5 right and wrong cancel out; the majority is right in a third of the rows.
    assert tasks["cost-benefit"].value["gain_a_day"] == pytest.approx(33.33, abs=0.01)


Change = Callable[[dict[str, Any]], Any]
PROBLEMS: dict[str, tuple[str, Change, Verdict]] = {
    "too few sealed rows": (
        "data availability",
        lambda plan: plan["criteria"][0].update(min_n=16),
        Verdict.FAIL,
    ),
    "too few rows for the bound": (
        "data availability",
        lambda plan: plan["criteria"][0].update(at_least=0.95),
        Verdict.FAIL,
    ),
    "licence forbids training": (
        "legal and ethics",
        lambda plan: plan["data"]["licence"].update(allows_training=False),
        Verdict.FAIL,
    ),
    "sensitive input without a criterion": (
        "legal and ethics",
        lambda plan: plan["data"].update(sensitive=["site"]),
        Verdict.FAIL,
    ),
    "sensitive column that nobody looks at": (
        "legal and ethics",
        lambda plan: plan["data"].update(sensitive=["batch"]),
        Verdict.UNKNOWN,
    ),
    "risk without its impact": (
        "legal and ethics",
        lambda plan: plan["goal"].update(risk_class="limited"),
        Verdict.FAIL,
    ),
    "risk without corruptions": (
        "robustness and scalability",
        lambda plan: plan["goal"].update(risk_class="limited"),
        Verdict.FAIL,
    ),
    "a latency objective out of reach": (
        "robustness and scalability",
        lambda plan: plan["serving"].update(latency_slo_ms=0.001),
        Verdict.FAIL,
    ),
    "risk without an explanation": (
        "explainability",
        lambda plan: plan["goal"].update(risk_class="limited"),
        Verdict.FAIL,
    ),
    "more memory than there is": (
        "resources",
        lambda plan: plan["serving"].update(hardware={"memory": "900000Gi"}),
        Verdict.FAIL,
    ),
}


@pytest.mark.parametrize(("heading", "change", "verdict"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_a_heading_answers_from_plan_and_data(
    workshop: Any, records: Any, heading: str, change: Change, verdict: Verdict
) -> None:
    """Each problem shows under its heading and in the step's verdict."""
    workshop.plan["serving"] = {}
    change(workshop.plan)
    context = workshop.open()
    whole = run_plan(context)
    assert records(context, "plan")[f"feasibility: {heading}"].verdict is verdict
    assert whole is not Verdict.PASS


def test_inputs_that_know_nothing_are_not_called_learnable(workshop: Any, records: Any) -> None:
    """Labels at random: no quick model is proved better than the majority."""
    kinds = workshop.table["kind"].to_list()
    for row in range(60):
        workshop.replace("kind", row, kinds[(row * row * 7 + row // 3) % 60])
    context = workshop.open()
    assert run_plan(context) is Verdict.UNKNOWN
    assert records(context, "plan")["feasibility: applicability"].verdict is Verdict.UNKNOWN


def test_a_rule_that_meets_every_criterion_stops_the_project(workshop: Any, rules: Path, records: Any) -> None:
    """Where the user's own rule suffices, there is no model to build."""
    workshop.plan["goal"]["baseline"] = {"kind": "heuristic", "entrypoint": "shade_rules.rules:by_item"}
    context = workshop.open()
    assert run_plan(context) is Verdict.FAIL
    record = records(context, "plan")["feasibility: baseline"]
    assert (record.value["accuracy"], record.verdict) == (1, Verdict.FAIL)
    assert record.value["baseline"]["distribution"] == entrypoint_digest("shade_rules.rules:by_item")


def test_a_weak_rule_does_not_stop_it(workshop: Any, rules: Path) -> None:
    """A rule that misses a criterion is a baseline to beat."""
    workshop.plan["goal"]["baseline"] = {"kind": "heuristic", "entrypoint": "shade_rules.rules:always_dim"}
    assert run_plan(workshop.open()) is Verdict.PASS


@pytest.mark.parametrize(
    ("entrypoint", "message"),
    [
        ("shade_rules.rules:too_few", "returned 1 answers for 60 rows"),
        ("shade_rules.rules:broken", "raised KeyError on 60 rows"),
        ("shade_rules.rules:absent", "has no function absent"),
        ("shade_rules.nothing:by_item", "importing shade_rules.nothing raised ModuleNotFoundError"),
        ("no_such_package:by_item", "there is no package no_such_package"),
    ],
    ids=["too few answers", "raises", "no function", "no module", "no package"],
)
def test_a_bad_rule_is_named_with_what_it_did(workshop: Any, rules: Path, entrypoint: str, message: str) -> None:
    """The user's code is at fault, and its entry point says so."""
    workshop.plan["goal"]["baseline"] = {"kind": "heuristic", "entrypoint": entrypoint}
    with pytest.raises(EntrypointError, match=f"^{entrypoint}: .*{message}"):
        run_plan(workshop.open())


def test_a_rule_never_sees_the_label(workshop: Any) -> None:
    """What is to be predicted, and what raters said of it, is not among the rule's columns."""
    workshop.plan["data"]["labelling"] = {"raters": ["batch", "site"]}
    context = workshop.open()
    rows = baseline_rows(read_source(context.plan, context.data_root, context.home).rows, context.plan.data)
    assert set(rows[0]) == {"image", "item", "seen", "weight"}


def test_the_majority_of_equals_is_the_first_by_name() -> None:
    """Ties do not depend on the order of rows."""
    assert fit_baseline(Baseline(), ["b", "a", "b", "a", "c"]).predict([{}, {}]) == ["a", "a"]


def test_the_digest_of_user_code_covers_its_whole_package(rules: Path) -> None:
    """A change in any file of the package changes the digest; byte code does not."""
    before = entrypoint_digest("shade_rules.rules:by_item")
    load_entrypoint("shade_rules.rules:by_item")
    (rules / "__pycache__").mkdir(exist_ok=True)
    (rules / "__pycache__" / "rules.cpython-311.pyc").write_bytes(b"x")
    assert entrypoint_digest("shade_rules.rules:by_item") == before
    (rules / "limits.json").write_text("{}", encoding="utf-8")
    assert entrypoint_digest("shade_rules.rules:by_item") != before


@pytest.mark.parametrize(
    ("fields", "rows"),
    [
        ({"metric": "accuracy", "at_least": 0.95, "min_n": 10}, 59),
        ({"metric": "accuracy", "at_least": 0.95, "min_n": 300}, 300),
        ({"metric": "accuracy", "at_least": 0.1, "relative_to": "baseline", "min_n": 10}, 10),
        ({"metric": "latency_p99_ms", "at_most": 50, "min_n": 10}, 299),
        ({"metric": "missing_rate", "at_most": 0.01, "min_n": 10}, 299),
        ({"metric": "macro_f1", "at_least": 0.9, "min_n": 10}, 10),
    ],
    ids=["bound", "min_n", "relative", "quantile", "rate", "score"],
)
def test_needed_rows_are_the_fewest_that_can_pass(fields: dict[str, Any], rows: int) -> None:
    """0.95 ** 59 is the first power under 0.05: 59 right answers of 59 prove 0.95."""
    assert needed_rows(Criterion(id="x", **fields)) == rows
