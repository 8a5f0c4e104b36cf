"""The drift detectors, each with its own defaults: fitted on reference rows, asked whether a window has drifted.

`categories` names the columns that number a category's values, with how many of them training saw.
A peer alerts when it calls any feature drifted, as ours does. Each runs in an environment of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

Table = Any  # (rows, features); typed where numpy's types are installed
Categories = dict[int, int]
Detector = Callable[[Table], bool]

LIMIT = 0.1  # nats, the usual mark of a moderate shift
LOWER_LIMIT = 0.07
WINDOW_ROWS = 500  # as in `windows`, which needs more than a peer's environment has


def sextant(reference: Table, categories: Categories, limit: float = LIMIT) -> Detector:
    """Return the rule that the plan compiles to: effect, significance and rows."""
    from sextant_components.data.encoding import column_reference
    from sextant_plan.bundle import Column
    from sextant_plan.drift_rule import OF_INPUTS, DriftRule, feature_drift
    from sextant_plan.reference import bin_index, bins_for
    from sextant_plan.schema import Criterion
    from sextant_plan.verdicts import Verdict

    criterion = Criterion.model_validate({"id": "drift", "metric": "input_psi", "at_most": limit, "enforce": ["alert"]})
    features = reference.shape[1]
    rule = DriftRule(criterion, None, "m", OF_INPUTS, "every feature", features, WINDOW_ROWS, 3600, 300, {})
    columns = [
        Column(
            name=str(place),
            vocabulary=[str(value) for value in range(categories[place])] if place in categories else None,
        )
        for place in range(features)
    ]
    bins = bins_for(WINDOW_ROWS, features)
    profiles = [column_reference(column, reference[:, place], bins) for place, column in enumerate(columns)]
    z = rule.z
    shares = [{str(bin_): count / sum(each.counts) for bin_, count in enumerate(each.counts)} for each in profiles]

    def has_drifted(window: Table) -> bool:
        for place, (each, share) in enumerate(zip(profiles, shares, strict=True)):
            counts = np.bincount(bin_index(window[:, place], each.edges), minlength=len(each.counts))
            drift = feature_drift(each.name, dict(zip(share, counts.tolist(), strict=True)), share, z)
            if rule.verdict(drift) is Verdict.FAIL:
                return True
        return False

    return has_drifted


def alibi_detect(reference: Table, categories: Categories) -> Detector:
    """Return alibi-detect's detector of tables: Kolmogorov-Smirnov and chi-square, p < 0.05 by Bonferroni."""
    from alibi_detect.cd import TabularDrift

    detector = TabularDrift(reference, p_val=0.05, categories_per_feature=dict.fromkeys(categories))
    return lambda window: bool(detector.predict(window)["data"]["is_drift"])


def evidently(reference: Table, categories: Categories) -> Detector:
    """Return Evidently's count of drifted columns: for each the test that it chooses, any column counting.

    The metric alone, without the preset's plots, is the fastest way that Evidently offers.
    """
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import DriftedColumnsCount

    names = [f"f{place}" for place in range(reference.shape[1])]
    named = [names[place] for place in categories]
    definition = DataDefinition(
        numerical_columns=[name for name in names if name not in named], categorical_columns=named
    )

    def dataset(rows: Table) -> Any:
        frame = pd.DataFrame(rows, columns=names).astype(dict.fromkeys(named, int)).astype(dict.fromkeys(named, str))
        return Dataset.from_pandas(frame, data_definition=definition)

    known = dataset(reference)

    def has_drifted(window: Table) -> bool:
        result = Report([DriftedColumnsCount()]).run(dataset(window), known).dict()
        (drifted,) = [
            each["value"]["count"] for each in result["metrics"] if "DriftedColumnsCount" in each["metric_name"]
        ]
        return bool(drifted > 0)

    return has_drifted


def nannyml(reference: Table, categories: Categories) -> Detector:
    """Return NannyML's univariate drift calculator: its default distance and thresholds, any column counting."""
    import pandas as pd
    from nannyml import UnivariateDriftCalculator

    names = [f"f{place}" for place in range(reference.shape[1])]
    named = [names[place] for place in categories]
    calculator = UnivariateDriftCalculator(column_names=names, treat_as_categorical=named or None, chunk_size=500)

    def frame(rows: Table) -> Any:
        return pd.DataFrame(rows, columns=names).astype(dict.fromkeys(named, int))

    calculator.fit(frame(reference))

    def has_drifted(window: Table) -> bool:
        result = calculator.calculate(frame(window)).filter(period="analysis").to_df()
        return bool(result.xs("alert", axis=1, level=-1).to_numpy().any())

    return has_drifted


DETECTORS: dict[str, Callable[[Table, Categories], Detector]] = {
    "sextant": sextant,
    f"sextant-{LOWER_LIMIT}": partial(sextant, limit=LOWER_LIMIT),
    "evidently": evidently,
    "nannyml": nannyml,
    "alibi-detect": alibi_detect,
}
warnings.filterwarnings("ignore")  # the peers' own deprecations
