"""The page: sections and appendix through one template into one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_components.closing.dossier.answer import answer
from sextant_components.closing.dossier.appendix import groups
from sextant_components.closing.dossier.card import card_section
from sextant_components.closing.dossier.claims import Citation, Claim, UncitedClaim
from sextant_components.closing.dossier.facts import Facts, read_facts
from sextant_components.closing.dossier.markdown import card_markdown
from sextant_components.closing.dossier.palette import LEVELS, stylesheet
from sextant_components.closing.dossier.sections import sections
from sextant_components.closing.dossier.strips import WIDTH
from sextant_components.closing.dossier.wording import duration, value
from sextant_components.runs.context import RunContext
from sextant_plan.files import write_atomically
from sextant_plan.moments import moment

if TYPE_CHECKING:
    import jinja2

DOSSIER_FILE = "dossier.html"
CARD_FILE = "model-card.md"
TEMPLATES = Path(__file__).parent / "templates"


def run_dossier(context: RunContext) -> Path:
    """Write the run's dossier and its model card, and return the dossier's path.

    It is rendered from the ledger, its artifacts and the run's error file alone, however far the run came.
    Raises UncitedClaim, and writes nothing, if a statement would stand without evidence.
    """
    facts = read_facts(context)
    page, card = render(facts), card_markdown(facts, card_section(facts))
    target = context.run / DOSSIER_FILE
    write_atomically(target, page.encode())
    write_atomically(context.run / CARD_FILE, card.encode())
    return target


def render(facts: Facts) -> str:
    """Return the dossier as HTML; raises UncitedClaim for a citation that the appendix does not hold."""
    appendix = groups(facts)
    anchors = {row.anchor for group in appendix for row in group.rows}
    plan, source = facts.plan
    return _template().render(
        answer=answer(facts),
        appendix=appendix,
        colours=stylesheet(),
        held=partial(_held, anchors=anchors),
        goal=Claim(plan.goal.business, [source]),
        levels=range(LEVELS),
        name=plan.name,
        origin=_origin(facts),
        sections=sections(facts),
        width=WIDTH,
    )


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("dossier.html.j2")


def _held(citations: Iterable[Citation], *, anchors: set[str]) -> list[Citation]:
    """Return the citations, each of which has a row in the appendix."""
    found = list(citations)
    for citation in found:
        if citation.anchor not in anchors:
            raise UncitedClaim(citation.digest, "is cited and is not among the run's evidence")
    return found


def _origin(facts: Facts) -> list[tuple[str, Claim]]:
    """Return where and when the run took place, as its records say."""
    lines = [("Run", Claim(facts.context.run_id, [facts.ledger]))]
    records = facts.outcome.records
    if records:
        first, last = min(records, key=lambda r: r.time), max(records, key=lambda r: r.time)
        code, image = _each_once(record.code for record in records), _each_once(record.image for record in records)
        lines += [
            ("Began", Claim(moment(first.time), [first])),
            ("Took", Claim(duration(last.time - first.time), [first, last])),
            ("Code", Claim(code, [last])),
            ("Image", Claim(image, [last])),
            ("Plan", Claim(value(first.plan_hash), [first])),
        ]
    return lines


def _each_once(items: Iterable[str]) -> str:
    """Return the different items in the order of their first appearance; more than one means a mixed run."""
    return ", ".join(dict.fromkeys(items))
