"""The model card as Markdown, for a registry or a repository; the same claims as on the page."""

from __future__ import annotations

from sextant_components.closing.dossier.blocks import Claims, Section
from sextant_components.closing.dossier.claims import Citation
from sextant_components.closing.dossier.facts import Facts


def card_markdown(facts: Facts, card: Section) -> str:
    """Return the card's text; each claim ends in the short digests of its evidence, listed in full at the end."""
    plan, _ = facts.plan
    lines = [f"# Model card: {plan.name}", ""]
    seen: dict[str, Citation] = {}
    for block in card.blocks:
        assert isinstance(block, Claims)
        lines += [f"## {block.title}", ""]
        for claim in block.claims:
            seen |= {each.short: each for each in claim.citations}
            marks = " ".join(f"[{each.short}]" for each in claim.citations)
            lines.append(f"- {_plain(claim.text)} {marks}")
        lines.append("")
    lines += ["## Evidence", "", "| mark | digest | place in the dossier |", "|---|---|---|"]
    lines += [f"| {short} | `{each.digest}` | `#{each.anchor}` |" for short, each in sorted(seen.items())]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Return text from the data as one line that Markdown cannot take for markup of its own."""
    escaped = "".join(f"\\{sign}" if sign in "\\`*_[]<>#|" else sign for sign in text)
    return " ".join(escaped.split())
