"""Which version is in service: as the home serves it, or where servers follow no home, as the registry says."""

from __future__ import annotations

import os
from pathlib import Path

from sextant_components.deployment.bundle_store import bundle_folder
from sextant_plan.errors import InfrastructureError
from sextant_plan.promotion import ActiveModel, active_model


def model_in_service(home: Path, name: str) -> ActiveModel:
    """Return the model in service, its paths made absolute.

    With a registry on a server (MLFLOW_TRACKING_URI) the last promotion there counts, because a cluster's rollout
    controller writes no home. Raises NothingActive before the first, and InfrastructureError for a registry that does
    not answer or a bundle that is not here.
    """
    from sextant_serving.home import served_model

    if os.environ.get("MLFLOW_TRACKING_URI"):
        from mlflow.exceptions import MlflowException

        from sextant_serving.registry import open_registry

        try:
            history = open_registry(home).history(name)
        except MlflowException as error:
            raise InfrastructureError(
                f"{name}: the registry does not answer ({error.error_code}). Is MLFLOW_TRACKING_URI right?"
            ) from error
        if history:
            return _with_bundle(home, active_model(history))
    return served_model(home)


def _with_bundle(home: Path, active: ActiveModel) -> ActiveModel:
    """Return it with its bundle where it lies here; the promotion may have been made in another home."""
    here = bundle_folder(home, active.name, active.digest)
    bundle = here if here.exists() else Path(active.bundle)
    if not bundle.exists():
        raise InfrastructureError(
            f"{here}: the bundle of {active.name} {active.version}, which is in service, is not here. Copy it there."
        )
    return active.model_copy(update={"bundle": str(bundle)})
