"""The table of tasks and the ML Test Score: computed from the ledger, with nothing left out and nothing made up."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from tests.components.closing.conftest import PLAN

import sextant_components
from sextant_components.closing.dossier.crisp import NOT_APPLICABLE, TaskResult, task_results, unclaimed
from sextant_components.closing.dossier.facts import read_facts
from sextant_components.closing.dossier.score import SECTIONS, Named, Score, Scored, compute_score, score_test
from sextant_components.closing.dossier.score_tests import SCORE_TESTS, Groups, ScoreTest
from sextant_components.evidence.gates import record_criterion
from sextant_components.runs.context import RunContext, Step, create_run
from sextant_plan.catalogue import Enforcement
from sextant_plan.catalogue.metrics import METRICS
from sextant_plan.ledger import END_TASK, LedgerWriter, Origin
from sextant_plan.tasks import TASKS
from sextant_plan.verdicts import Estimate, Verdict

COMPONENTS = Path(sextant_components.__file__).parent
WATCHED = {Enforcement.ALERT, Enforcement.RETRAIN}
STATES = {*map(str, Verdict), NOT_APPLICABLE}


def results(context: RunContext) -> dict[str, TaskResult]:
    """Return the run's results by the task's id."""
    return {result.task.id: result for result in task_results(read_facts(context))}


def record(context: RunContext, step: Step, task: str, verdict: Verdict = Verdict.PASS) -> None:
    """Write one finished attempt of a step with one record."""
    with context.ledger(step) as ledger:
        ledger.record(task, requirement="r", risk="r", qa_method="q", verdict=verdict)


def test_every_task_has_a_verdict_or_a_reason(tell: Callable[..., RunContext]) -> None:
    """A whole run shows every task of the catalogue, each with a word, a reason and evidence."""
    found = results(tell())
    assert found.keys() == {task.id for task in TASKS}
    assert {result.state for result in found.values()} <= STATES
    assert all(result.reason and result.evidence for result in found.values())


def test_a_task_is_as_good_as_its_worst_record(empty_run: RunContext) -> None:
    """One failing check fails its task, and the reason names it."""
    with empty_run.ledger(Step.INGEST) as ledger:
        for task, verdict in (("snapshot", Verdict.PASS), ("licence and consent", Verdict.FAIL)):
            ledger.record(task, requirement="r", risk="r", qa_method="q", verdict=verdict)
    found = results(empty_run)
    assert found["versioning"].state == "pass"
    assert found["procurement"].state == "fail"
    assert "“licence and consent” fails" in found["procurement"].reason


def test_silence_is_unknown_unless_the_plan_excuses_it(empty_run: RunContext) -> None:
    """Nothing was recorded: what applies is unknown, what the plan has no use for says why."""
    found = results(empty_run)
    assert {result.state for result in found.values()} == {"unknown", NOT_APPLICABLE}
    assert found["tuning"].state == "unknown"
    assert "train did not come to an end" in found["tuning"].reason
    assert found["labelling"].reason.startswith("Not applicable, because data.labelling names no raters")


def test_evidence_beats_an_excuse(empty_run: RunContext) -> None:
    """A check that was made counts even if the plan did not ask for it."""
    record(empty_run, Step.INGEST, "labelling agreement", Verdict.FAIL)
    assert results(empty_run)["labelling"].state == "fail"


def test_a_record_of_no_task_is_still_shown(empty_run: RunContext) -> None:
    """What the catalogue does not know is named, so that nothing is lost."""
    record(empty_run, Step.TRAIN, "a thing nobody planned")
    assert [each.task for each in unclaimed(read_facts(empty_run))] == ["a thing nobody planned"]


def literal_tasks() -> Iterator[str]:
    """Yield the task of every call in the components that records one by its name; `x` stands for what varies."""
    for path in COMPONENTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in {"record", "_inform", "_record_share", "inform"}:
                yield from filter(None, map(_literal, node.args[:2]))


def _literal(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
    return None


def test_every_task_that_a_step_writes_is_in_the_catalogue() -> None:
    """The steps' own source names no record that the process model has no place for."""
    names = sorted(set(literal_tasks()))
    assert len(names) > 40
    known = [pattern.partition("/")[2] for task in TASKS for pattern in task.evidence]
    assert [name for name in names if not any(fnmatchcase(name, pattern) for pattern in known)] == []


def test_the_score_has_seven_tests_in_each_of_four_sections(tell: Callable[..., RunContext]) -> None:
    """28 tests, the total is the least sum, and each answer rests on evidence."""
    score = compute_score(read_facts(tell()))
    assert [sum(test.section == name for test in SCORE_TESTS) for name in SECTIONS] == [7, 7, 7, 7]
    assert score.total == min(score.sections.values())
    assert all(each.evidence and each.points in {0.0, 0.5, 1.0} for each in score.tests)
    assert all(len(each["evidence"]) for each in score.as_json()["tests"])


def points(score: Score, name: str) -> float:
    """Return one test's points."""
    (found,) = [each for each in score.tests if each.test.id == name]
    return found.points


@pytest.mark.parametrize(("verdict", "expected"), [(Verdict.PASS, 1.0), (Verdict.UNKNOWN, 0.0), (Verdict.FAIL, 0.0)])
def test_a_point_is_for_a_check_that_passed(empty_run: RunContext, verdict: Verdict, expected: float) -> None:
    """A check that was made and did not pass earns nothing."""
    record(empty_run, Step.TRAIN, "search", verdict)
    assert points(compute_score(read_facts(empty_run)), "model-3") == expected


def test_a_criterion_against_the_baseline_earns_what_the_steps_own_check_would(tmp_path: Path) -> None:
    """A plan that asks for the gain itself has no other record of it."""
    asked = "  - {id: beats-the-rule, metric: accuracy, at_least: 0.1, relative_to: baseline}\ndata:\n"
    (tmp_path / "plan.yaml").write_text(PLAN.replace("data:\n", asked, 1), encoding="utf-8")
    context = create_run(tmp_path / "run", run_id="r", plan_path=tmp_path / "plan.yaml", home=tmp_path / "home")
    (criterion,) = [each for each in context.plan.criteria if each.id == "beats-the-rule"]
    with context.ledger(Step.EVALUATE) as ledger:
        record_criterion(ledger, criterion, Estimate(0.3, 0.2, 0.4, 300, 0.95))
    assert points(compute_score(read_facts(context)), "data-2") == 0.5


def named(run: Path, groups: Groups, *, failing: int | None = None) -> list[Named]:
    """Return a record for each group, under its first name; the one at `failing` fails."""
    found: list[Named] = []
    with LedgerWriter(run, "evaluate", "evaluation", Origin("r", "sha256:" + "0" * 64, "c", "i")) as ledger:
        for place, group in enumerate(groups):
            verdict = Verdict.FAIL if place == failing else Verdict.PASS
            made = ledger.record(f"check {place}", requirement="r", risk="r", qa_method="q", verdict=verdict)
            found.append((made, [group[0].replace("*", "x")]))
    return found


@pytest.mark.parametrize("test", SCORE_TESTS, ids=[test.id for test in SCORE_TESTS])
def test_each_test_gives_a_point_on_proof_and_less_on_anything_else(test: ScoreTest, empty_run: RunContext) -> None:
    """All that it asks for passed: 1. One of it failed, or was not there: at most a half, and a reason."""
    facts = read_facts(empty_run)
    plan, source = facts.plan

    def scored(records: list[Named]) -> Scored:
        return score_test(test, records, plan, plan_file=source, ledger=facts.ledger)

    whole = scored(named(empty_run.run, test.automated))
    assert (whole.points, len(whole.evidence)) == (1.0, len(test.automated))
    for failing in range(len(test.automated)):
        short = scored(named(empty_run.run, test.automated, failing=failing))
        assert short.points <= 0.5
        assert f"“check {failing}” is fail" in short.reason
        assert scored(named(empty_run.run, test.automated[:failing])).points <= 0.5
    assert scored([]).evidence
    if test.partial:
        assert scored(named(empty_run.run, test.partial)).points in {0.5, 1.0}


def texts_of_the_components() -> set[str]:
    """Return every text in the steps' source; `x` stands for what varies in one."""
    trees = [
        ast.parse(path.read_text(encoding="utf-8")) for path in COMPONENTS.rglob("*.py") if "dossier" not in path.parts
    ]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.expr)]
    return {text for node in nodes if (text := _literal(node)) is not None}


def can_be_written(pattern: str, texts: set[str]) -> bool:
    """Tell whether some step writes a record of this name."""
    step, _, task = pattern.partition("/")
    if task == END_TASK:
        return True
    if task.startswith(("metric:", "sliced:")):
        metrics = [each for each in METRICS.values() if fnmatchcase(each.name, task[7:])]
        return any(each.step == step or (step == Step.WATCH and WATCHED & each.enforcements) for each in metrics)
    return any(fnmatchcase(text, task) for text in texts)


def test_each_point_can_be_earned() -> None:
    """No test waits for a record that no step writes."""
    texts = texts_of_the_components()
    groups = [(test.id, group) for test in SCORE_TESTS for group in (*test.automated, *test.partial)]
    assert [each for each in groups if not any(can_be_written(pattern, texts) for pattern in each[1])] == []


def test_half_a_point_is_for_what_is_only_stated(empty_run: RunContext) -> None:
    """An empty run has no automated point at all; what its plan states is half a point and cites the plan."""
    score = compute_score(read_facts(empty_run))
    assert {each.points for each in score.tests} == {0.0, 0.5}
    assert points(score, "model-1") == 0.5
    assert score.total < 1.5


def test_the_page_shows_every_task_and_every_question(tell: Callable[..., RunContext]) -> None:
    """Both tables are on the page in full."""
    from sextant_components.closing.dossier.page import render

    page = render(read_facts(tell(last=Step.DECIDE)))
    assert all(f'id="t-{task.id}"' in page for task in TASKS)
    assert all(test.question.replace("'", "&#39;") in page for test in SCORE_TESTS)
