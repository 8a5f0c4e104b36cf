"""What a drill hands back to be judged and written down."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Result:
    """Seconds are from the fault, None for what never came; `detected_by` names what noticed it, if no alert did."""

    fault: str
    detected_after: float | None
    recovery: str
    recovered_after: float | None
    requests: int = 0
    failed: int = 0
    detected_by: str | None = None
    facts: dict[str, float | int | str] = field(default_factory=dict)
