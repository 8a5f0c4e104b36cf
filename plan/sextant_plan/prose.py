"""What a person writes: whether a text states something, or is only a placeholder for a statement."""

from __future__ import annotations

import re

# Capitals alone for the short words, since "to do" is plain English and some names hold such letters.
_PLACEHOLDER = re.compile(r"\b(?:TODO|TBD|TBA|FIXME)\b|(?i:\blorem ipsum\b|<(?:your|fill|insert)\b[^>]*>)")


def placeholder_in(text: str) -> str | None:
    """Return the first placeholder of a text, such as `TODO` or `<your reason>`; None if it has none."""
    found = _PLACEHOLDER.search(text)
    return found[0] if found else None
