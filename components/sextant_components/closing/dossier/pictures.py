"""Artifacts as blocks: pictures embedded, confusion matrices shaded, lists and mappings of JSON as tables."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, TypeGuard

from sextant_components.closing.dossier.blocks import Block, Cell, CellKind, Claims, Figure, Heat, Row, Table
from sextant_components.closing.dossier.claims import Claim
from sextant_components.closing.dossier.facts import Artifact, Facts
from sextant_components.closing.dossier.plotted import plot_of
from sextant_components.closing.dossier.strips import strip
from sextant_components.closing.dossier.wording import named, number, title, words
from sextant_components.runs.context import Step
from sextant_plan.ledger import Record

MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
LARGEST_PICTURE_BYTES = 4 << 20  # beyond it the page opens slowly on a phone
LARGEST_TABLE_ROWS = 40
PLOTTED_ALONE = frozenset({"latency.json", "reference.json"})  # their tables would be lists of bare numbers
LEADING = (
    "name",
    "number",
    "slice",
    "engine",
    "candidate",
    "class",
    "corruption",
    "attack",
    "kind",
    "file",
    "row_id",
    "label",
)
PAIR = ["name", "value"]
CLOSING = ("low", "high", "n", "verdict")
ALT = {
    "residuals": "Answers against labels, one point a row; on the line both are the same",
    "confusion": "Confusion matrix as a picture; the table of the same name holds its numbers",
    "reliability": "Reliability diagram: share of right answers against the probability that the model stated",
    "errors": "Pictures that the model labelled wrongly, each with its label and the model's answer",
    "explanation": "What the model's answers rest on, as the promised explanation shows it",
    "learning": "Learning curves: loss and accuracy by epoch",
}


def shown(facts: Facts, *steps: Step) -> list[Block]:
    """Return a block for every artifact of these steps that can be shown, once each and the plan not."""
    return shown_of(facts, facts.records(*steps))


def shown_of(facts: Facts, records: Sequence[Record]) -> list[Block]:
    """Return the same for the artifacts of some records."""
    blocks: list[Block] = []
    seen: set[str] = set()
    plan = {artifact.digest for artifact in facts.artifacts_of(records) if artifact.digest == artifact.record.plan_hash}
    for artifact in facts.artifacts_of(records):
        if artifact.digest in seen | plan:
            continue
        seen.add(artifact.digest)
        blocks += blocks_of(facts, artifact)
    return blocks


def blocks_of(facts: Facts, artifact: Artifact) -> list[Block]:
    """Return what shows an artifact: a picture, or plots and a table; none if it is neither, or is not whole."""
    data = facts.read(artifact)
    if data is None:
        return []
    for magic, media in MAGIC.items():
        if data.startswith(magic):
            return [_picture(artifact, data, media)]
    content = facts.read_json(artifact)
    drawn = plot_of(artifact, content)
    told = None if drawn and artifact.name in PLOTTED_ALONE else _heat(artifact, content) or _table(artifact, content)
    return [*drawn, *([told] if told is not None else [])]


def heading(artifact: Artifact) -> str:
    """Return the artifact's name as a heading."""
    return title(artifact.name.rpartition("/")[2].partition(".")[0])


def _picture(artifact: Artifact, data: bytes, media: str) -> Block:
    name = heading(artifact)
    if len(data) > LARGEST_PICTURE_BYTES:
        size = number(round(len(data) / (1 << 20), 1))
        text = f"{artifact.name} has {size} MiB and is not embedded; it lies in the run's artifacts."
        return Claims([Claim(text, [artifact.record])], name)
    alt = ALT.get(artifact.name.partition(".")[0], f"{name}, recorded by the check “{artifact.record.task}”")
    uri = f"data:{media};base64,{base64.b64encode(data).decode()}"
    return Figure(Claim(f"{alt}.", [artifact.record]), uri, alt, name)


def _heat(artifact: Artifact, content: Any) -> Heat | None:
    """Read `{classes, matrix}`: rows are the labels, columns the answers, entries counts."""
    if not isinstance(content, dict):
        return None
    classes = content.get("classes") or content.get("labels")
    counts = content.get("matrix") or content.get("counts") or content.get("confusion")
    if not (isinstance(classes, list) and isinstance(counts, list) and len(classes) == len(counts)):
        return None
    if not all(isinstance(row, list) and len(row) == len(classes) and all(map(_is_count, row)) for row in counts):
        return None
    names = [str(name) for name in classes]
    return Heat(
        caption=Claim(_confusion_sentence(names, counts), [artifact.record]),
        classes=names,
        counts=counts,
        levels=[[_level(count, sum(row)) for count in row] for row in counts],
        title=heading(artifact),
    )


def _confusion_sentence(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    total = sum(map(sum, counts))
    right = sum(row[place] for place, row in enumerate(counts))
    text = f"Rows are labels, columns answers: {number(right)} of {number(total)} rows are answered right."
    wrong = [(c, names[i], names[j]) for i, row in enumerate(counts) for j, c in enumerate(row) if i != j and c]
    if not wrong:
        return f"{text} No row is answered wrong."
    worst, label, answer = max(wrong)
    often = "once" if worst == 1 else f"{number(worst)} times"
    return f"{text} The most frequent error takes {label} for {answer}, {often}."


def _level(count: int, row: int) -> int:
    """Return the shade of a count in its row: 0 only for none, 9 for nearly all."""
    return 0 if not count else min(9, 1 + int(9 * count / row))


def _table(artifact: Artifact, content: Any) -> Table | None:
    rows = _as_rows(content)
    if not rows:
        return None
    columns = sorted(dict.fromkeys(key for row in rows for key in row), key=_place)
    shown_rows = rows[:LARGEST_TABLE_ROWS]
    drawn = _intervals(shown_rows)
    rest = len(rows) - len(shown_rows)
    what = f"{heading(artifact)}, as the check “{artifact.record.task}” recorded it"
    more = f"; the first {number(len(shown_rows))} of {number(len(rows))} rows." if rest else "."
    return Table(
        caption=Claim(f"{what}{more}", [artifact.record]),
        columns=[*map(title, columns), *(["Interval"] if drawn else [])],
        rows=[Row([*_cells(row, columns), *drawn[place : place + 1]]) for place, row in enumerate(shown_rows)],
        title=heading(artifact),
        look="pairs" if columns == PAIR else "plain",
    )


def _as_rows(content: Any) -> list[dict[str, Any]]:
    """Read a list of mappings, a mapping of mappings (its keys lead), or one mapping (a row for each key)."""
    if isinstance(content, list) and content and all(isinstance(item, dict) for item in content):
        return content
    if isinstance(content, dict) and content:
        nested = list(content.values())
        if all(isinstance(item, dict) for item in nested):
            return [{"name": key, **item} for key, item in content.items()]
        lists = [item for item in nested if _as_rows(item) and isinstance(item, list)]
        if len(lists) == 1:
            return _as_rows(lists[0])
        return [{"name": str(key), "value": item} for key, item in content.items()]
    return []


def _cells(row: dict[str, Any], columns: Sequence[str]) -> list[Cell]:
    """Return a row's cells; in a table of names and values, the name says what kind of value it is."""
    if columns == PAIR:
        name = str(row["name"])
        return [Cell(words(name), "head"), Cell(named(name, row["value"]))]
    cells = []
    for place, column in enumerate(columns):
        item = row.get(column)
        kind: CellKind = "number" if _is_number(item) else "text"
        kind = "head" if place == 0 else "verdict" if column == "verdict" else kind
        cells.append(Cell(named(column, item), kind))
    return cells


def _place(column: str) -> tuple[int, int]:
    """Return where a column stands: what names the row leads, its bounds and its verdict close."""
    if column in LEADING:
        return (0, LEADING.index(column))
    return (2, CLOSING.index(column)) if column in CLOSING else (1, 0)


def _estimate(row: dict[str, Any]) -> tuple[float, float, float] | None:
    """Return a row's low bound, value and high bound; the value is the first number within the bounds."""
    low, high = row.get("low"), row.get("high")
    if not (_is_number(low) and _is_number(high)):
        return None
    others = [item for key, item in row.items() if key not in {"low", "high", "n", "number"} and _is_number(item)]
    middle = next((item for item in others if low <= item <= high), None)
    return None if middle is None else (low, middle, high)


def _intervals(rows: Sequence[dict[str, Any]]) -> list[Cell]:
    """Draw every row's estimate on one axis; empty where no row has one."""
    estimates = [_estimate(row) for row in rows]
    known = [estimate for estimate in estimates if estimate is not None]
    if not known:
        return []
    axis = min(low for low, _, _ in known), max(high for _, _, high in known)
    return [
        Cell(kind="strip", strip=None if found is None else strip(found[1], found[0], found[2], axis=axis))
        for found in estimates
    ]


def _is_count(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and item >= 0


def _is_number(item: Any) -> TypeGuard[float]:
    return isinstance(item, int | float) and not isinstance(item, bool)
