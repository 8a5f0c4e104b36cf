"""Which promoted model the home names; a rollout replaces its `active.json` atomically."""

from __future__ import annotations

from pathlib import Path

from sextant_plan.challengers import Challenger
from sextant_plan.promotion import ACTIVE_FILE, ActiveModel, read_active
from sextant_serving.errors import NothingActive


def served_model(home: Path) -> ActiveModel:
    """Return what the home serves, its paths made absolute (they may be relative to the home).

    Raises NothingActive before the first promotion, InfrastructureError if active.json is malformed.
    """
    active = read_active(home)
    if active is None:
        raise NothingActive(str(home / ACTIVE_FILE))
    root = home.resolve()

    def absolute(one: ActiveModel | Challenger) -> dict[str, str | None]:
        repo = str(root / one.feature_repo) if one.feature_repo is not None else None
        return {"bundle": str(root / one.bundle), "feature_repo": repo}

    challengers = tuple(one.model_copy(update=absolute(one)) for one in active.challengers)
    previous = active.previous and active.previous.model_copy(update=absolute(active.previous))
    return active.model_copy(update={**absolute(active), "challengers": challengers, "previous": previous})
