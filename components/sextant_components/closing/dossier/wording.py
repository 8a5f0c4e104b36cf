"""How numbers, moments, digests and recorded values read in the dossier."""

from __future__ import annotations

import math
import re
from typing import Any

from sextant_plan.ledger import Record
from sextant_plan.moments import moment

DIGEST = re.compile(r"sha256:([0-9a-f]{8})[0-9a-f]{56}")
PLAIN_WORD = re.compile(r"[a-z]+([ ,;:.!?…]|$)(?!\S)")
MOMENTS = frozenset({"created", "decided"})  # keys whose number is a Unix time
ITEMS = 12  # of a list, before the rest is only counted
SMALLEST_FIXED = 0.001
LARGEST_FIXED = 1e15


def number(value: float) -> str:
    """Return a number at four significant digits, whole ones in full with thin spaces between thousands."""
    if float(value).is_integer() and abs(value) < LARGEST_FIXED:
        return f"{int(value):,}".replace(",", "\u202f")
    if abs(value) < SMALLEST_FIXED or abs(value) >= LARGEST_FIXED:
        return f"{value:.3g}"
    decimals = max(0, 3 - math.floor(math.log10(abs(value)))) if abs(value) >= 1 else 4
    text = f"{value:,.{decimals}f}".replace(",", "\u202f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration(seconds: float) -> str:
    """Return a length of time in the largest unit that keeps it readable."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= size:
            return f"{number(round(seconds / size, 1))} {unit}"
    return f"{number(round(seconds * 1000, 3))} ms"


def words(name: str) -> str:
    """Return an identifier as words."""
    return name.replace("_", " ").replace("-", " ").strip()


def title(name: str) -> str:
    """Return an identifier as words with a capital letter."""
    text = words(name)
    return text[:1].upper() + text[1:]


def value(item: Any, depth: int = 0) -> str:
    """Return a recorded value as text for a reader: names as words, digests shortened, long lists counted."""
    if item is None:
        return "—"
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, int | float):
        return number(item)
    if isinstance(item, str):
        return DIGEST.sub(r"sha256:\1…", item)
    if isinstance(item, list) and len(item) > ITEMS and all(isinstance(part, int | float) for part in item):
        return f"{number(len(item))} numbers from {number(min(item))} to {number(max(item))}"
    if isinstance(item, list):
        texts = [value(part, depth + 1) for part in item[:ITEMS]]
        return _nested(", ".join(texts) + _more(len(item)), depth) if item else "none"
    if isinstance(item, dict):
        texts = [f"{words(str(key))} {named(str(key), part, depth + 1)}" for key, part in list(item.items())[:ITEMS]]
        return _nested("; ".join(texts) + _more(len(item)), depth) if item else "none"
    return str(item)


def named(name: str, item: Any, depth: int = 0) -> str:
    """Return a recorded value whose name may say what kind of number it is."""
    if name in MOMENTS and isinstance(item, int | float) and not isinstance(item, bool):
        return moment(item)
    return value(item, depth)


def _more(count: int) -> str:
    return f" and {count - ITEMS} more" if count > ITEMS else ""


def _nested(text: str, depth: int) -> str:
    return f"({text})" if depth else text


def finding(record: Record) -> str:
    """Return what a record found: its value, bounds and number of observations."""
    text = value(record.value)
    if record.interval is not None:
        text += f", bounds {bound(record.interval[0], 'none')} to {bound(record.interval[1], 'none')}"
    if record.n is not None:
        text += f", n = {number(record.n)}"
    return text


def bound(side: float | None, absent: str) -> str:
    """Return one side of an interval."""
    return absent if side is None else number(side)


def closed(text: str) -> str:
    """Return text that ends with a full stop."""
    stripped = text.strip()
    return stripped if stripped.endswith((".", "!", "?", "…")) else f"{stripped}."


def sentence(text: str) -> str:
    """Return text that begins with a capital letter and ends with a full stop."""
    return capital(closed(text))


def capital(text: str) -> str:
    """Return text with a capital letter, unless it begins with a name such as `data.licence` or `sha256`."""
    return text[:1].upper() + text[1:] if PLAIN_WORD.match(text) else text


def listed(names: list[str]) -> str:
    """Return names as a list in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
