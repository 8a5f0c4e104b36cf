"""The model registry on MLflow: versions bound to bundle digests, and promotions that are written once.

MLflow would make two versions of one bundle, and its aliases have no compare-and-set (last writer wins). So
what must hold is written to the model's write-once ledger: `version-<digest>` names the version of a bundle,
`seq-000N` is the N-th promotion. The aliases `candidate` and `champion` are copies for people and for other tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sextant_plan.canonical import canonical_json
from sextant_plan.errors import InfrastructureError
from sextant_plan.promotion import Promotion, PromotionLost, sequence_key
from sextant_serving.mlflow_store import MlflowStore, WriteOnceLedger, connect

DIGEST_TAG = "sextant.bundle_digest"
ROLLOUT_TAG = "sextant.rollout"
CANDIDATE, CHAMPION = "candidate", "champion"


@dataclass(frozen=True)
class Registry:
    """The versions and promotions of every model in one MLflow."""

    store: MlflowStore

    def register(
        self, name: str, *, digest: str, source: str, tags: Mapping[str, str], run_id: str | None = None
    ) -> str:
        """Return the version of this bundle, registered if it is not; the same bundle is one version for ever.

        `run_id` is MLflow's run among whose artifacts `source` lies, if it does. Killed half-way and run again, it
        takes over the version that is already there.
        """
        self._ensure_model(name)
        ledger, key = self._ledger(name), f"version-{digest.removeprefix('sha256:')}"
        version = ledger.read().get(key)
        if version is None:
            found = self._versions(name, digest)
            mine = found[0] if found else self._create_version(name, digest, source, run_id, tags)
            if ledger.write(key, str(mine)):
                version = str(mine)
            else:
                version = ledger.read()[key]
                if not found:
                    self.store.client.delete_model_version(name, str(mine))
        self.store.client.set_registered_model_alias(name, CANDIDATE, version)
        return version

    def digest_of(self, name: str, version: str) -> str | None:
        """Return the digest of the bundle that the ledger bound to a version."""
        for key, value in self._ledger(name).read().items():
            if key.startswith("version-") and value == version:
                return f"sha256:{key.removeprefix('version-')}"
        return None

    def history(self, name: str) -> list[Promotion]:
        """Return the model's promotions, the oldest first. Raises InfrastructureError if one is unreadable."""
        params = self._ledger(name).read()
        promotions: list[Promotion] = []
        while (text := params.get(sequence_key(len(promotions) + 1))) is not None:
            try:
                promotions.append(Promotion.model_validate_json(text))
            except ValueError as error:
                raise InfrastructureError(
                    f"{name}: {sequence_key(len(promotions) + 1)} of the promotion ledger is no promotion record. "
                    "Restore the MLflow database; nothing was changed."
                ) from error
        return promotions

    def champion(self, name: str) -> Promotion | None:
        """Return the promotion that is in force, or None before the first."""
        history = self.history(name)
        return history[-1] if history else None

    def promote(self, promotion: Promotion) -> list[Promotion]:
        """Write a promotion and repair the alias from it; return the history. The same one again changes nothing.

        Raises PromotionLost if another run holds this place in the sequence.
        """
        text = canonical_json(promotion.model_dump(mode="json")).decode()
        won = self._ledger(promotion.name).write(promotion.key, text)
        history = self.history(promotion.name)
        if not won:
            raise PromotionLost(
                promotion.name, judged_against=promotion.replaces, champion=history[-1].version if history else None
            )
        self.repair(promotion.name)
        return history

    def repair(self, name: str) -> None:
        """Set the alias `champion` to what the ledger says."""
        if champion := self.champion(name):
            self.store.client.set_registered_model_alias(name, CHAMPION, champion.version)

    def note_rollout(self, name: str, version: str, end: str, reason: str) -> None:
        """Say on a version how its rollout ended; for people, since the promotions alone decide what is live."""
        self.store.client.set_model_version_tag(name, version, ROLLOUT_TAG, f"{end}: {reason}")

    def _ensure_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.store.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _create_version(self, name: str, digest: str, source: str, run_id: str | None, tags: Mapping[str, str]) -> int:
        created = self.store.client.create_model_version(name, source, run_id=run_id, tags={**tags, DIGEST_TAG: digest})
        return int(created.version)

    def _versions(self, name: str, digest: str) -> list[int]:
        found = self.store.client.search_model_versions(f"name = '{name}' and tags.`{DIGEST_TAG}` = '{digest}'")
        return sorted(int(version.version) for version in found)

    def _ledger(self, name: str) -> WriteOnceLedger:
        return self.store.ledger(f"model/{name}")


def open_registry(home: Path) -> Registry:
    """Open the registry of this home."""
    return Registry(connect(home.resolve()))
