"""What a plan says that only classes can have, although its model answers with a number; and the other way round."""

from __future__ import annotations

from collections.abc import Iterator

from sextant_plan.fault import Fault
from sextant_plan.schema import Plan


def regression_faults(plan: Plan) -> Iterator[Fault]:
    """Yield each part of the plan that does not fit what its model answers with."""
    where = ("goal", "baseline", "kind")
    if plan.model.answers == "class":
        if plan.goal.baseline.kind == "mean":
            yield Fault(where, "classes have no mean", "Write kind: majority, or name a heuristic")
        return
    if plan.goal.baseline.kind == "majority":
        yield Fault(where, "numbers have no majority", "Write goal.baseline: {kind: mean}, or name a heuristic")
    if plan.goal.economics is not None:
        problem = "value_per_correct and cost_per_error price right and wrong answers, and a number is neither"
        yield Fault(
            ("goal", "economics"), problem, "Remove it, and state the worth of a smaller error in goal.business"
        )
    selection = plan.data.selection
    if selection.columns or selection.rows != "off":
        yield Fault(("data", "selection"), "gains are measured in classes told apart", "Remove data.selection")
    if plan.evaluation.attack is not None:
        yield Fault(("evaluation", "attack"), "an attack turns a class into another", "Remove evaluation.attack")
    if plan.data.labelling is not None:
        yield Fault(("data", "labelling"), "raters agree on classes, not on numbers", "Remove data.labelling")
    if plan.data.corrections is not None:
        yield Fault(("data", "corrections"), "a correction names a class", "Remove data.corrections; mend the table")
    rule = plan.data.columns.get(plan.data.label)
    if rule is not None and rule.type != "number":
        path = ("data", "columns", plan.data.label, "type")
        yield Fault(path, f"the label of a regression is a number, not {rule.type}", "Write type: number")
    if plan.model.training.class_weights != "none":
        yield Fault(("model", "training", "class_weights"), "numbers have no classes to weigh", "Remove it")
    if plan.serving.fallback.abstain_below > 0:
        problem = "a number comes without the probability that abstain_below is compared with"
        yield Fault(
            ("serving", "fallback", "abstain_below"), problem, "Remove it; min and max of a column guard inputs"
        )
