"""Kubernetes objects as plain JSON: the pinned client's typed models are older than the APIs that a rollout meets."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sextant_plan.errors import InfrastructureError

Json = dict[str, Any]
TIMEOUT_SECONDS = 10


class ApiFailed(InfrastructureError):
    """The API server refused a request or did not answer."""

    def __init__(self, verb: str, path: str, problem: str) -> None:
        super().__init__(f"{verb} {path}: {problem}")


class ObjectMoved(ApiFailed):
    """An object is not as the request takes for granted: somebody else has changed it."""


def _load_access(configuration: Any) -> None:
    """Fill in the address and the credentials: KUBECONFIG's files, else the user's own, else the pod's account.

    The client's `load_config` remembers KUBECONFIG as it was at its import, and prints to stdout inside a pod.
    """
    from kubernetes import config

    own = Path("~/.kube/config").expanduser()
    named = os.environ.get("KUBECONFIG") or (str(own) if own.exists() else None)
    if named is not None:
        config.load_kube_config(named, client_configuration=configuration)
    else:
        config.load_incluster_config(client_configuration=configuration)


class Kube:
    """The API server, by paths such as /api/v1/namespaces/demo/configmaps/one."""

    def __init__(self) -> None:
        """Connect as the pod's service account, or as KUBECONFIG says. Raises ApiFailed if neither is there."""
        from kubernetes import client, config

        configuration = client.Configuration()
        try:
            _load_access(configuration)
        except (config.ConfigException, OSError) as error:
            problem = str(error).rstrip(".")
            raise ApiFailed("connect", "the cluster", f"{problem}. Set KUBECONFIG, or run inside a pod") from error
        self._client = client.ApiClient(configuration)

    def get(self, path: str, **query: str) -> Json | None:
        """Return an object or a list, None if there is none."""
        return self._call("GET", path, query=query, absent_is_none=True)

    def create(self, path: str, body: Json) -> bool:
        """Create an object; tell whether it was not there before."""
        try:
            self._call("POST", path, body=body)
        except ObjectMoved:
            return False
        return True

    def replace(self, path: str, body: Json) -> None:
        """Replace an object of the resource version in `body`. Raises ObjectMoved if it has another by now."""
        self._call("PUT", path, body=body)

    def patch(self, path: str, operations: Sequence[Json]) -> None:
        """Apply a JSON patch (RFC 6902). Raises ObjectMoved if one of its tests fails."""
        self._call("PATCH", path, body=list(operations))

    def delete(self, path: str, *, uid: str, grace_seconds: int) -> None:
        """Delete the object of this uid. Raises ObjectMoved if another has its name by now."""
        options = {"gracePeriodSeconds": grace_seconds, "preconditions": {"uid": uid}}
        self._call("DELETE", path, body=options)

    def _call(
        self,
        verb: Literal["GET", "POST", "PUT", "PATCH", "DELETE"],
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        absent_is_none: bool = False,
    ) -> Json | None:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        kind = "application/json-patch+json" if verb == "PATCH" else "application/json"
        try:
            answer: Json = self._client.call_api(
                path,
                verb,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", "Content-Type": kind},
                body=body,
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=TIMEOUT_SECONDS,
            )
        except ApiException as error:
            if error.status == 404 and absent_is_none:
                return None
            kind_of_error = ObjectMoved if error.status in {409, 422} else ApiFailed
            raise kind_of_error(verb, path, f"{error.status} {error.reason}{_words(error.body)}") from error
        except HTTPError as error:
            raise ApiFailed(verb, path, type(error).__name__) from error
        return answer


def _words(body: object) -> str:
    """Return what the API server or an admission webhook says of a refusal, with a colon before it."""
    try:
        said = json.loads(body)["message"] if isinstance(body, str | bytes) else ""
    except (ValueError, TypeError, LookupError):
        said = ""
    return f": {said}" if said else ""


def pointer(*keys: str | int) -> str:
    """Return a JSON pointer (RFC 6901)."""
    return "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in keys)


def is_true(conditions: Sequence[Mapping[str, Any]], kind: str, *, generation: int | None = None) -> bool:
    """Tell whether a condition is True, and with `generation` whether it is about that one or a later."""
    return any(
        condition.get("type") == kind
        and condition.get("status") == "True"
        and (generation is None or condition.get("observedGeneration", 0) >= generation)
        for condition in conditions
    )
