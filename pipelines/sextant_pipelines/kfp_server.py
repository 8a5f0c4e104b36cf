"""A Kubeflow Pipelines backend over its REST API v2beta1, by KFP's generated client, with errors in sentences.

`kfp.Client` stands above that client too, but prints to standard output, writes the user's configuration, and neither
checks arguments nor ends when a run is canceled; so this module uses what lies below it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sextant_plan.errors import InfrastructureError, UsageError

if TYPE_CHECKING:
    from kfp_server_api import ApiClient, V2beta1Run

REQUEST_SECONDS = (10, 60)  # to connect and to answer: an upload is the slowest, at under 1 MB
LOG_PATH = "/apis/v1alpha1/runs/{run}/nodes/{pod}/log"  # KFP 2.17 has no later one (backend/src/apiserver/main.go)
EQUALS = "EQUALS"


class ServerRefused(InfrastructureError):
    """The backend answered, and not with what was asked for; `status` is the HTTP code."""

    def __init__(self, host: str, act: str, status: int, message: str) -> None:
        self.status = status
        remedy = {
            401: "Give a valid token with --token-file",
            403: "Ask the namespace's owner for the role kubeflow-edit, or name another --namespace",
            404: "Is this the address of the KFP API server, and of version 2?",
        }.get(status, "The API server's log has more")
        said = f": {message}" if message else ""
        super().__init__(f"{host}: could not {act} (HTTP {status}{said}). {remedy}.")


class ServerUnreachable(InfrastructureError):
    """No connection to the backend."""

    def __init__(self, host: str, error: BaseException) -> None:
        super().__init__(
            f"{host}: {type(error).__name__}: no answer. Forward its port (kubectl port-forward svc/ml-pipeline 8888) "
            "or give its address with --host."
        )


@dataclass(frozen=True)
class Health:
    """What the backend says of itself; `version` is None if it was built without one."""

    version: str | None
    multi_user: bool


@dataclass(frozen=True)
class KfpServer:
    """One backend; `namespace` is the user's in a multi-user deployment and empty in a single-user one.

    The token is read anew for each request, because Kubernetes rotates projected tokens within the hour.
    """

    host: str
    namespace: str = ""
    token_file: Path | None = None
    ca_file: Path | None = None

    def health(self) -> Health:
        """Ask who is there. Raises ServerUnreachable and ServerRefused, as every method does."""
        with self._asking("read its health"):
            # The generated model leaves out the version that the server sends.
            said = json.loads(self._raw("/apis/v2beta1/healthz"))
        version = said.get("tag_name", "unknown")
        return Health(None if version == "unknown" else version, bool(said.get("multi_user", False)))

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, created if it is not there."""
        with self._asking(f"list the experiments{self._where}"):
            found = self._api("Experiment").experiment_service_list_experiments(
                filter=_is("display_name", name), **self._in_namespace
            )
        if found.experiments:
            return str(found.experiments[0].experiment_id)
        with self._asking(f"create the experiment {name}{self._where}"):
            body = self._models.V2beta1Experiment(display_name=name, **self._in_namespace)
            return str(self._api("Experiment").experiment_service_create_experiment(body).experiment_id)

    def upload(self, name: str, version: str, text: str) -> tuple[str, str]:
        """Return the ids of a pipeline and of its version, each uploaded if it is not there."""
        pipeline = self._pipeline(name)
        with self._asking(f"list the versions of pipeline {name}"):
            found = self._api("Pipeline").pipeline_service_list_pipeline_versions(
                pipeline, filter=_is("display_name", version)
            )
        if found.pipeline_versions:
            return pipeline, str(found.pipeline_versions[0].pipeline_version_id)
        with self._asking(f"upload version {version} of pipeline {name}"), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.yaml"
            path.write_text(text, encoding="utf-8")
            uploaded = self._api("PipelineUpload").upload_pipeline_version(
                str(path), name=version, pipelineid=pipeline, _request_timeout=REQUEST_SECONDS
            )
            return pipeline, str(uploaded.pipeline_version_id)

    def _pipeline(self, name: str) -> str:
        with self._asking(f"list the pipelines{self._where}"):
            found = self._api("Pipeline").pipeline_service_list_pipelines(
                filter=_is("name", name), **self._in_namespace
            )
        if found.pipelines:
            return str(found.pipelines[0].pipeline_id)
        with self._asking(f"create the pipeline {name}{self._where}"):
            body = self._models.V2beta1Pipeline(display_name=name, name=name, **self._in_namespace)
            return str(self._api("Pipeline").pipeline_service_create_pipeline(body).pipeline_id)

    def run_named(self, experiment: str, name: str) -> str | None:
        """Return the id of a run by its display name, None if there is none; also the check that one may look."""
        with self._asking(f"list the runs{self._where}"):
            found = self._api("Run").run_service_list_runs(
                experiment_id=experiment, filter=_is("display_name", name), **self._in_namespace
            )
        return str(found.runs[0].run_id) if found.runs else None

    def start(self, experiment: str, name: str, reference: tuple[str, str], settings: RunSettings) -> str:
        """Start a run of a pipeline's version; return the run's id."""
        with self._asking(f"start the run {name}"):
            body = self._models.V2beta1Run(
                experiment_id=experiment, display_name=name, **self._described(reference, settings)
            )
            return str(self._api("Run").run_service_create_run(body, experiment_id=experiment).run_id)

    def schedule(self, experiment: str, name: str, pipeline: str, settings: RunSettings, cron: str) -> str:
        """Start a recurring run of a pipeline's newest version, one at a time, none caught up on; return its id.

        Raises UsageError if one of this name is there, because KFP cannot change a recurring run.
        """
        with self._asking(f"list the recurring runs{self._where}"):
            found = self._api("RecurringRun").recurring_run_service_list_recurring_runs(
                experiment_id=experiment, filter=_is("display_name", name), **self._in_namespace
            )
        if found.recurring_runs:
            there = found.recurring_runs[0].recurring_run_id
            raise UsageError(f"{self.host}: the schedule {name} is there already ({there}). Delete it first.")
        with self._asking(f"schedule {name}"):
            models = self._models
            body = models.V2beta1RecurringRun(
                experiment_id=experiment,
                display_name=name,
                mode=models.RecurringRunMode.ENABLE,
                trigger=models.V2beta1Trigger(cron_schedule=models.V2beta1CronSchedule(cron=cron)),
                max_concurrency=1,
                no_catchup=True,
                **self._described((pipeline, None), settings),
            )
            created = self._api("RecurringRun").recurring_run_service_create_recurring_run(body)
            return str(created.recurring_run_id)

    def run(self, run_id: str) -> V2beta1Run:
        """Return a run with its tasks."""
        with self._asking(f"read the run {run_id}"):
            return self._api("Run").run_service_get_run(run_id)

    def retry(self, run_id: str) -> None:
        """Start the failed steps of a run again."""
        with self._asking(f"retry the run {run_id}"):
            self._api("Run").run_service_retry_run(run_id)

    def log(self, run_id: str, pod: str) -> str:
        """Return what a pod printed."""
        with self._asking(f"read the log of pod {pod}"):
            return self._raw(LOG_PATH.format(run=run_id, pod=pod)).decode(errors="replace")

    def _described(self, reference: tuple[str, str | None], settings: RunSettings) -> dict[str, Any]:
        pipeline, version = reference
        models = self._models
        return {
            "pipeline_version_reference": models.V2beta1PipelineVersionReference(
                pipeline_id=pipeline, pipeline_version_id=version
            ),
            "runtime_config": models.V2beta1RuntimeConfig(
                parameters=settings.arguments, pipeline_root=settings.pipeline_root
            ),
            "service_account": settings.service_account,
        }

    @property
    def _in_namespace(self) -> dict[str, str]:
        return {"namespace": self.namespace} if self.namespace else {}

    @property
    def _where(self) -> str:
        return f" of namespace {self.namespace}" if self.namespace else ""

    @property
    def _models(self) -> Any:
        import kfp_server_api

        return kfp_server_api

    def _api(self, name: str) -> Any:
        return getattr(self._models, f"{name}ServiceApi")(self._client)

    @cached_property
    def _client(self) -> ApiClient:
        import kfp_server_api

        settings = kfp_server_api.Configuration(host=self.host.rstrip("/"))
        settings.retries = False  # the caller knows better which request may be sent twice
        if self.ca_file is not None:
            settings.ssl_ca_cert = str(self.ca_file)
        if self.token_file is not None:
            settings.api_key_prefix["authorization"] = "Bearer"
            settings.refresh_api_key_hook = self._read_token
            self._read_token(settings)
        return kfp_server_api.ApiClient(settings)

    def _read_token(self, settings: Any) -> None:
        assert self.token_file is not None
        try:
            settings.api_key["authorization"] = self.token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UsageError(
                f"{self.token_file}: {error.strerror}. Name the file of a token with --token-file."
            ) from error

    def _raw(self, path: str) -> bytes:
        response = self._client.call_api(
            path, "GET", auth_settings=["Bearer"], _preload_content=False, _request_timeout=REQUEST_SECONDS
        )
        return bytes(response.data)

    @contextmanager
    def _asking(self, act: str) -> Iterator[None]:
        from kfp_server_api.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ApiException as error:
            if not error.status:
                raise ServerUnreachable(self.host, error) from error
            raise ServerRefused(self.host, act, error.status, _message(error.body)) from error
        except (HTTPError, OSError) as error:
            raise ServerUnreachable(self.host, error) from error


@dataclass(frozen=True)
class RunSettings:
    """What a run is started with besides its pipeline."""

    arguments: dict[str, str]
    pipeline_root: str | None = None
    service_account: str | None = None


def _is(field: str, value: str) -> str:
    """Return KFP's filter for one field that equals a text."""
    return json.dumps({"predicates": [{"key": field, "operation": EQUALS, "string_value": value}]})


def _message(body: object) -> str:
    """Return the first line of what the server says was wrong; it repeats no argument's value beyond names."""
    try:
        said = json.loads(body)["message"] if isinstance(body, str | bytes) else ""
    except (ValueError, KeyError, TypeError):
        return ""
    return str(said).partition("\n")[0][:300]
