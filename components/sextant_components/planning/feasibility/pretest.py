"""How a quick model bears the plan's corruptions, before a good one is built."""

from __future__ import annotations

from collections import Counter

import numpy as np

from sextant_components.evaluation.corruptions import corrupt
from sextant_components.planning.feasibility.heading import CONFIDENCE, Heading, Study
from sextant_components.planning.feasibility.quick_models import ridge_answers
from sextant_plan.bounds import proportion
from sextant_plan.verdicts import Verdict

TRAINED = 0.5


def assess(study: Study) -> Heading | None:
    """Compare accuracy on clean and on corrupted small pictures with the majority; None if no corruption is planned.

    It informs: a quick model that breaks says that the corruption matters, not that a good one will break.
    """
    sample, kinds = study.sample, study.plan.evaluation.corruptions
    if sample.pictures is None or not kinds:
        return None
    order = np.random.default_rng(0).permutation(len(sample.rows))
    train, test = np.split(order, [round(TRAINED * len(order))])
    classes, codes = np.unique(sample.labels, return_inverse=True)
    matrix = sample.matrix
    majority = max(Counter(codes[test].tolist()).values()) / len(test)
    confidence = 1 - (1 - CONFIDENCE) / len(kinds)  # each bound at its share of the error
    found = {}
    for kind in ("clean", *kinds):
        shown = sample.pictures if kind == "clean" else corrupt(sample.pictures, kind)
        said = ridge_answers(matrix[train], codes[train], len(classes), sample.matrix_of(shown)[test])
        found[kind] = proportion(int(np.count_nonzero(said == codes[test])), len(test), confidence)
    broken = [kind for kind in kinds if found[kind].low <= majority]
    return Heading(
        task="feasibility: corruption pre-test",
        requirement="a quick model still beats the majority on every planned corruption",
        risk="the signal is lost in bad light, and no model can bring it back",
        qa_method="ridge regression on half the sample, the other half clean and corrupted; Clopper-Pearson bound; "
        "it informs and does not judge",
        value={
            "rows": len(test),
            "majority": round(majority, 6),
            "accuracy": {kind: round(each.value, 6) for kind, each in found.items()},
            "bound": {kind: round(each.low, 6) for kind, each in found.items()},
            "not_above_majority": broken,
        },
        verdict=Verdict.UNKNOWN if broken else Verdict.PASS,
        counts=False,
    )
