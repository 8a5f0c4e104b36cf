"""A rollout's documents on one machine, below the home: `rollouts/<name>/{release,state,wishes}.json`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from sextant_plan.errors import InfrastructureError
from sextant_plan.files import locked, write_atomically
from sextant_plan.schema import Closed
from sextant_serving.rollout.release import Release
from sextant_serving.rollout.state import RolloutState, Wishes, starts_anew

Document = TypeVar("Document", bound=Closed)


@dataclass(frozen=True)
class RolloutFolder:
    """The documents of the newest rollout of one model; each is replaced in one step."""

    path: Path

    def stage(self, release: Release) -> None:
        """Put a release in place of the one before, whose wishes do not apply to it; its state goes by the digest.

        Raises NotAdmitted if this bundle was proved harmful before.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        staged, anew = self.release(), starts_anew(self.load(), release.digest)
        if anew:
            (self.path / "state.json").unlink()
        if anew or staged is None or staged.digest != release.digest:
            (self.path / "wishes.json").unlink(missing_ok=True)
        self._write("release", release)

    def release(self) -> Release | None:
        """Return the staged release, None if there is none."""
        return self._read("release", Release)

    def load(self) -> RolloutState | None:
        """Return the state, None before the first save."""
        return self._read("state", RolloutState)

    def save(self, state: RolloutState) -> None:
        """Keep the state; `held` sees to it that nobody else does."""
        self._write("state", state)

    def wishes(self) -> Wishes:
        """Return what people ask for."""
        return self._read("wishes", Wishes) or Wishes()

    def wish(self, change: Callable[[Wishes], Wishes]) -> None:
        """Change what is asked for; two people who do so at once both get through."""
        with locked(self.path / ".wishes.lock"):
            self._write("wishes", change(self.wishes()))

    @property
    def lock(self) -> Path:
        """The file that the one controller of these documents keeps locked."""
        return self.path / ".lock"

    def _write(self, name: str, document: Closed) -> None:
        write_atomically(self.path / f"{name}.json", (document.model_dump_json(indent=1) + "\n").encode())

    def _read(self, name: str, kind: type[Document]) -> Document | None:
        path = self.path / f"{name}.json"
        try:
            return kind.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise InfrastructureError(
                f"{path}: not a {kind.__name__}. Remove it and start the rollout again."
            ) from error


def rollout_folder(home: Path, name: str) -> RolloutFolder:
    """Return the documents of a model's rollout below a home."""
    return RolloutFolder(home.resolve() / "rollouts" / name)
