"""The plan's criteria against the evidence: one line of the verdict table and one sentence each."""

from __future__ import annotations

from dataclasses import dataclass

from sextant_components.closing.dossier.blocks import Cell, Row, Table, cites
from sextant_components.closing.dossier.claims import Citable, Claim
from sextant_components.closing.dossier.facts import Facts
from sextant_components.closing.dossier.strips import strip
from sextant_components.closing.dossier.wording import bound, closed, number, value, words
from sextant_plan.bounds import rows_to_prove
from sextant_plan.catalogue import QUANTILES, Enforcement
from sextant_plan.ledger import Record
from sextant_plan.schema import Criterion, Plan
from sextant_plan.verdicts import Verdict

COLUMNS = ("Criterion", "Requires", "Measured", "Bounds", "Rows", "Against the limit", "Verdict", "Evidence")
MOST_ROWS = 1e7  # beyond it "measure more" is no advice


@dataclass(frozen=True)
class Judged:
    """One criterion with what was measured and decided; `evidence` is never empty."""

    criterion: Criterion
    verdict: Verdict
    measured: Record | None
    evidence: list[Citable]

    @property
    def is_gate(self) -> bool:
        """Tell whether the criterion can keep a model from promotion."""
        return Enforcement.GATE in self.criterion.enforce


def judged(facts: Facts) -> list[Judged]:
    """Return every criterion of the plan; one without evidence is unknown and cites the plan and the ledger."""
    plan, source = facts.plan
    found = []
    for criterion in plan.criteria:
        measured, decided = facts.measured(criterion), facts.decided(criterion)
        evidence: list[Citable] = [record for record in (measured, decided) if record is not None]
        word = decided or measured
        found.append(
            Judged(criterion, word.verdict if word else Verdict.UNKNOWN, measured, evidence or [source, facts.ledger])
        )
    return found


def unit_of(criterion: Criterion, plan: Plan) -> str:
    """Return the metric's unit, with the plan's own currency where it is of money."""
    unit = criterion.definition.unit
    return unit.replace("currency", plan.goal.economics.currency) if plan.goal.economics else unit


def requirement(criterion: Criterion, plan: Plan) -> str:
    """Return the limit in words, such as `≥ 0.95 on site=north, at 95 % confidence`."""
    sign, unit = ("≥", "≤")[criterion.at_least is None], unit_of(criterion, plan)
    text = f"{sign}\u00a0{number(criterion.limit)}" + ("" if unit in {"share", "score"} else f"\u00a0{unit}")
    if criterion.relative_to:
        text += f" above the {criterion.relative_to}"
    if criterion.slice:
        text += f" {'over' if '=' not in criterion.slice else 'on'} {criterion.slice}"
    return text


def statement(item: Judged) -> Claim:
    """Say in one sentence why the criterion has its verdict."""
    return Claim(f"{item.criterion.id}: {_reason(item)}", item.evidence)


def _reason(item: Judged) -> str:
    criterion, record = item.criterion, item.measured
    if record is None:
        if not item.is_gate:
            return "no evidence was recorded in this run; it is held in service, not before promotion."
        return "no evidence was recorded for it as the plan defines it."
    if record.interval is None:
        return f"it could not be judged: {closed(value(record.value))}"
    low, high = record.interval
    at_least = criterion.at_least is not None
    good, bad = (low, high) if at_least else (high, low)
    good_name, bad_name = ("lower", "upper") if at_least else ("upper", "lower")
    short, limit = ("below" if at_least else "above"), number(criterion.limit)
    if item.verdict is Verdict.PASS and good is not None:
        return f"the {good_name} bound {number(good)} {'reaches' if at_least else 'stays within'} {limit}."
    if item.verdict is Verdict.FAIL and bad is not None:
        return f"even the {bad_name} bound {number(bad)} is {short} {limit}, which disproves it."
    if record.n is not None and record.n < criterion.min_n:
        return f"{number(record.n)} rows are too few; the plan needs {number(criterion.min_n)}."
    if good is None:
        return f"the rows are too few to give it {'a lower' if at_least else 'an upper'} bound."
    if not _satisfied(good, criterion):
        return f"the {good_name} bound {number(good)} is {short} {limit}, so it is not proved."
    return "the decision did not accept its evidence; the decision's record says why."


def _satisfied(good: float, criterion: Criterion) -> bool:
    return good >= criterion.limit if criterion.at_least is not None else good <= criterion.limit


def rows_to_decide(item: Judged) -> int | None:
    """Estimate how many rows would decide an undecided criterion, if the measured value stays as it is.

    Bounds shrink with the root of the rows; a percentile has none before enough rows are there at all. None
    where the measured value is not on the good side, so that more rows would rather disprove it.
    """
    record, criterion = item.measured, item.criterion
    if record is None or record.interval is None or not record.n or not isinstance(record.value, int | float):
        return None
    at_least = criterion.at_least is not None
    good = record.interval[0] if at_least else record.interval[1]
    margin = record.value - criterion.limit if at_least else criterion.limit - record.value
    if margin <= 0:
        return None
    fewest = criterion.min_n
    if criterion.metric in QUANTILES:
        fewest = max(fewest, rows_to_prove(QUANTILES[criterion.metric], criterion.confidence))
    if good is None:
        return fewest
    exact = record.n * (abs(record.value - good) / margin) ** 2
    rounded = float(f"{exact:.1e}")  # two digits: it is an estimate and must not look like a count
    return max(int(rounded), fewest) if rounded < MOST_ROWS else None


def verdict_table(facts: Facts) -> Table:
    """Return the table of all criteria: limit, value, bounds, rows, confidence, verdict and evidence."""
    plan, source = facts.plan
    return Table(
        caption=Claim(
            "Every criterion of the plan. A bound holds on its side alone at the confidence beside it; a gate "
            "passes only if the bound, not the value, is on the right side of the limit.",
            [source],
        ),
        columns=COLUMNS,
        rows=[_row(item, plan) for item in judged(facts)],
    )


def state(item: Judged) -> str:
    """Return the verdict's word; a criterion that holds only in service and was not measured is no gate's unknown."""
    return item.verdict.value if item.measured is not None or item.is_gate else "not measured"


def _row(item: Judged, plan: Plan) -> Row:
    criterion, record = item.criterion, item.measured
    measured = value(record.value) if record is not None else "—"
    bounds, drawn = "—", None
    if record is not None and record.interval is not None:
        low, high = record.interval
        bounds = f"{bound(low, 'none')} to {bound(high, 'none')}"
        if isinstance(record.value, int | float):
            drawn = strip(record.value, low, high, limit=criterion.limit, good_is_high=criterion.at_least is not None)
    rows = number(record.n) if record is not None and record.n is not None else "—"
    how = ", ".join(words(part) for part in criterion.enforce)
    return Row(
        [
            Cell(criterion.id, "head", note=criterion.definition.description),
            Cell(requirement(criterion, plan), note=f"held as {how}"),
            Cell(measured, "number"),
            Cell(bounds, "number", note=f"at {number(criterion.confidence * 100)}\u00a0%"),
            Cell(rows, "number", note=f"needs {number(criterion.min_n)}"),
            Cell(kind="strip", strip=drawn),
            Cell(state(item), "verdict"),
            cites(*item.evidence),
        ],
        anchor=f"c-{criterion.id}",
    )
