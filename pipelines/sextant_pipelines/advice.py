"""What a well-formed plan may still get wrong: gates that no evidence could pass, data that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sextant_components.runs.source_folder import is_remote
from sextant_pipelines.planned_rows import Labelled, count_rows, undecidable
from sextant_plan.bounds import rows_to_prove
from sextant_plan.catalogue import QUANTILES, Enforcement
from sextant_plan.errors import DataError
from sextant_plan.schema import Criterion, Plan
from sextant_plan.unanswered import unanswered


def warnings_of(plan: Plan, plan_dir: Path) -> list[str]:
    """Return one sentence for each thing that will stop a run, leave its verdict unknown or its dossier empty."""
    remote = is_remote(plan.data.source)
    labelled = None if remote else count_rows(plan, plan_dir / plan.data.source)
    found = [sentence for each in plan.criteria for sentence in _criterion_warnings(plan, each, labelled)]
    found += [] if labelled is None else undecidable(plan, labelled)
    if not remote:
        found += _data_warnings(plan, plan_dir)
    return [*found, *_licence_warnings(plan), *_unanswered_warnings(plan)]


def _criterion_warnings(plan: Plan, criterion: Criterion, labelled: Labelled | None) -> Iterator[str]:
    if Enforcement.GATE not in criterion.enforce:
        return
    metric = criterion.definition
    share = criterion.at_least if criterion.at_least is not None else 1 - criterion.limit
    counted = labelled is not None and not metric.by_request
    if metric.estimator == "proportion" and criterion.relative_to is None and 0 < share < 1 and not counted:
        rows = rows_to_prove(share, criterion.confidence)
        if criterion.min_n < rows:
            yield (
                f"criteria {criterion.id}: even without one error, {rows} rows are needed to prove "
                f"{criterion.limit:g} at confidence {criterion.confidence:g}; min_n is {criterion.min_n}. "
                f"Make sure of {rows} rows"
            )
    if metric.estimator == "quantile":
        requests = max(rows_to_prove(QUANTILES[metric.name], criterion.confidence), criterion.min_n)
        if plan.evaluation.latency_requests < requests:
            yield (
                f"criteria {criterion.id}: {requests} requests are needed for its bound, and "
                f"evaluation.latency_requests is {plan.evaluation.latency_requests}. Raise it"
            )


def _data_warnings(plan: Plan, plan_dir: Path) -> Iterator[str]:
    source = plan_dir / plan.data.source
    parts = {"data.source": source, "data.images": source / (plan.data.images or "")}
    parts |= {"data.table": source / plan.data.table} if plan.data.table else {}
    absent = next(((key, path) for key, path in parts.items() if not path.exists()), None)
    if absent:
        yield f"{absent[0]}: {absent[1]} does not exist. Put the data there, or correct the path"
    elif plan.data.table:
        yield from _table_warnings(plan, source / plan.data.table)


def _licence_warnings(plan: Plan) -> Iterator[str]:
    if not plan.data.licence.allows_training:
        yield (
            "data.licence.allows_training is false, so the legal heading of the plan step fails. "
            "Set it to true once somebody has confirmed the licence"
        )


def _unanswered_warnings(plan: Plan) -> Iterator[str]:
    keys = unanswered(plan)
    if keys:
        yield f"{', '.join(keys)}: still as sextant init wrote it. Say it in your own words: the dossier says so too"


def _table_warnings(plan: Plan, table: Path) -> Iterator[str]:
    """Look at the table's columns alone; what its rows hold is for the run to find out."""
    from sextant_components.data.sources import needed_columns
    from sextant_components.data.table_files import read_table, require_columns

    try:
        require_columns(table, read_table(table, limit=1).columns, needed_columns(plan))
    except DataError as error:
        yield str(error)
