"""From a plan and a cluster profile to a run on Kubeflow Pipelines: package, arguments, run store, start."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sextant_components.deployment.roll_out import IMMEDIATE
from sextant_components.runs.context import PipelineName, RunFile
from sextant_components.runs.repository import read_repository
from sextant_pipelines.cluster_ir import for_cluster
from sextant_pipelines.cluster_profile import ClusterProfile
from sextant_pipelines.compile import compiled, split_documents
from sextant_pipelines.kfp_server import KfpServer, RunSettings
from sextant_pipelines.local import checked_run_id
from sextant_pipelines.run_store import SCHEDULE_FOLDER, lay_out
from sextant_plan.canonical import digest_of_bytes
from sextant_plan.errors import InfrastructureError, UsageError
from sextant_plan.loading import load_plan
from sextant_plan.schema import Plan

MOST_CHARACTERS = 10_000  # of one parameter, by KFP's limit
RELEASING = frozenset({"lifecycle", "retrain"})  # the pipelines that roll a version out
CRON_FIELDS = 6  # KFP's cron begins with seconds
# The API server replaces it by when the run starts, YYYYMMDDhhmmss in UTC (KFP 2.17, backend/src/apiserver/template).
SCHEDULED = "[[CurrentTime]]"


@dataclass(frozen=True)
class Package:
    """A pipeline as it is uploaded; its version is the digest of its text, so that one text has one version."""

    name: str
    text: str

    @property
    def version(self) -> str:
        """The version's name, which is also a Kubernetes object's: the pipeline's name and 12 hex digits."""
        return f"{self.name}-{digest_of_bytes(self.text.encode()).removeprefix('sha256:')[:12]}"


@dataclass(frozen=True)
class Submission:
    """Everything that a start needs, decided before the backend is asked."""

    package: Package
    experiment: str
    run_id: str
    run_uri: str
    settings: RunSettings
    file: RunFile
    plan: bytes
    cron: str | None = None
    warning: str | None = None


class BadArguments(UsageError):
    """Arguments that the pipeline does not take; the backend would start the run all the same."""

    def __init__(self, name: str, faults: list[str]) -> None:
        super().__init__(f"pipeline {name} cannot be started:\n" + "\n".join(f"  {fault}" for fault in faults))


class VersionSkew(InfrastructureError):
    """A backend of another major version, which has another API and reads another package."""

    def __init__(self, host: str, server: str, client: str) -> None:
        super().__init__(f"{host}: the backend is KFP {server}, this client {client}. Use a client of its version.")


def package_for(name: PipelineName, profile: ClusterProfile) -> Package:
    """Return a pipeline compiled for the cluster; the same code and profile give the same bytes."""
    return Package(f"sextant-{name}", for_cluster(compiled(name), profile))


def prepare(
    plan_path: Path,
    profile: ClusterProfile,
    *,
    name: PipelineName,
    run_id: str,
    window: str = "",
    cron: str | None = None,
    wider: bool = False,
) -> Submission:
    """Compile and check everything that can be checked without the backend.

    A schedule's runs are named `run_id` and the time of their start. Raises PlanError, UsageError and BadArguments.
    """
    plan = load_plan(plan_path)
    checked_run_id(run_id)
    store = profile.store.rstrip("/")
    run_uri, identifier = f"{store}/{run_id}", run_id
    if cron is not None:
        check_schedule(name, cron)
        run_uri, identifier = f"{store}/{run_id}/{SCHEDULED}", f"{run_id}-{SCHEDULED}"
    arguments = {"run_uri": run_uri, "run_id": identifier} | ({"window": window} if window else {})
    package = package_for(name, profile)
    check_arguments(package, arguments)
    return Submission(
        package=package,
        experiment=plan.name,
        run_id=run_id,
        run_uri=run_uri,
        settings=RunSettings(arguments, profile.pipeline_root, profile.service_account),
        file=RunFile(
            run_id=run_id,
            plan_dir=profile.data,
            home=profile.home,
            pipeline=name,
            repository=read_repository(plan_path),
            wider=wider,
        ),
        plan=plan_path.read_bytes(),
        cron=cron,
        warning=unreceived(plan, name),
    )


def unreceived(plan: Plan, name: PipelineName) -> str | None:
    """Return a warning if a run on a cluster would promote a version that no InferenceService is told of, else None."""
    if plan.rollout.strategy != IMMEDIATE or name not in RELEASING:
        return None
    return (
        "rollout.strategy is immediate: what a run promotes goes into the registry and active.json, and no "
        "InferenceService receives it. Set it to canary and hand the staged version over by sextant rollout submit"
    )


def check_schedule(name: PipelineName, cron: str) -> None:
    """Refuse a schedule that KFP would misread, and of a pipeline that answers to one window. Raises UsageError."""
    if name == "retrain":
        raise UsageError(
            "--schedule: a retraining answers to one window. Schedule monitor, and let the trigger retrain."
        )
    if len(cron.split()) != CRON_FIELDS:
        raise UsageError(
            f"--schedule {cron!r}: KFP's cron has six fields, the first of them seconds; '0 0 3 * * *' is daily at 3."
        )


def check_arguments(package: Package, arguments: Mapping[str, str]) -> None:
    """Hold the arguments against the pipeline's parameters, which the backend does not. Raises BadArguments."""
    ir, _ = split_documents(package.text)
    known: Mapping[str, Any] = ir["root"].get("inputDefinitions", {}).get("parameters", {})
    faults = [f"{name}: the pipeline has no such parameter" for name in sorted(arguments.keys() - known.keys())]
    for name, spec in sorted(known.items()):
        if name not in arguments:
            if "defaultValue" not in spec:
                faults.append(f"{name}: this parameter is missing")
        elif spec["parameterType"] != "STRING":
            faults.append(f"{name}: the pipeline takes {spec['parameterType']}, and every argument here is text")
        elif "{{$" in arguments[name] or len(arguments[name]) > MOST_CHARACTERS:
            faults.append(f"{name}: a placeholder, or over {MOST_CHARACTERS:,} characters")
    if faults:
        raise BadArguments(package.name, faults)


def check_server(server: KfpServer) -> None:
    """Refuse a backend of another major version and a namespace that does not fit; warn of another minor one.

    Raises VersionSkew, UsageError, and what KfpServer raises.
    """
    import kfp

    health = server.health()
    if health.multi_user and not server.namespace:
        raise UsageError(f"{server.host}: this backend has many users. Name yours with --namespace.")
    client = str(kfp.__version__)
    if health.version is None or health.version.split(".")[:2] == client.split(".")[:2]:
        return
    if health.version.split(".")[0] != client.split(".", maxsplit=1)[0]:
        raise VersionSkew(server.host, health.version, client)
    print(
        f"the backend is KFP {health.version}, this client {client}; they are tested with equal ones", file=sys.stderr
    )


def start(server: KfpServer, submission: Submission) -> str:
    """Lay out the run, upload the pipeline and start it; return the id of KFP's run, or of its recurring run.

    A run of this id that is there already is not started again: its id is returned. Every step of this can be
    repeated, so a start that was cut off is completed by another one.
    """
    experiment = server.experiment(submission.experiment)
    if submission.cron is None:
        found = server.run_named(experiment, submission.run_id)
        if found is not None:
            return found
        lay_out(submission.run_uri, plan=submission.plan, file=submission.file)
    else:
        parent = submission.run_uri.removesuffix(SCHEDULED)
        lay_out(parent + SCHEDULE_FOLDER, plan=submission.plan, file=submission.file)
    package = submission.package
    if submission.cron is None:
        reference = server.upload(package.name, package.version, package.text)
        return server.start(experiment, submission.run_id, reference, submission.settings)
    # A recurring run of a version starts without the API server, and its arguments stay as they are. One of a pipeline
    # takes the newest version: hence a pipeline with this version alone.
    pipeline, _ = server.upload(package.version, package.version, package.text)
    return server.schedule(experiment, submission.run_id, pipeline, submission.settings, submission.cron)


def kubernetes_manifest(package: Package, namespace: str) -> str:
    """Return the Pipeline and PipelineVersion objects of a package (YAML), for a backend that stores them so."""
    from google.protobuf import json_format
    from kfp.compiler import pipeline_spec_builder as builder
    from kfp.compiler.compiler_utils import KubernetesManifestOptions
    from kfp.pipeline_spec import pipeline_spec_pb2

    ir, platform = split_documents(package.text)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.yaml"
        builder.write_pipeline_spec_to_file(
            pipeline_spec=json_format.ParseDict(ir, pipeline_spec_pb2.PipelineSpec()),
            pipeline_description=None,
            platform_spec=json_format.ParseDict(platform or {}, pipeline_spec_pb2.PlatformSpec()),
            package_path=str(path),
            kubernetes_manifest_format=True,
            kubernetes_manifest_options=KubernetesManifestOptions(
                pipeline_name=package.name,
                pipeline_version_name=package.version,
                namespace=namespace or None,
                include_pipeline_manifest=True,
            ),
        )
        return path.read_text(encoding="utf-8")
