"""What the options or the home's active.json say is to be served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sextant_plan.bundle import read_bundle
from sextant_plan.challengers import Challenger
from sextant_serving.home import served_model
from sextant_serving.loading import Source
from sextant_serving.options import Options


@dataclass(frozen=True)
class Lineup:
    """What is to be served: the champion, its challengers, and the name of their experiment."""

    champion: Source
    challengers: Sequence[tuple[Challenger, Source]] = ()
    experiment: str | None = None


def lineup_of(options: Options) -> Lineup:
    """Return what `options` name; raises NothingActive, InfrastructureError or BundleCorrupt."""
    return _from_bundles(options) if options.home is None else _from_home(options, options.home)


def _from_bundles(options: Options) -> Lineup:
    assert options.bundle is not None
    spec = read_bundle(options.bundle)  # its digest tells a bundle that was replaced from one that was not
    name = options.model_name or spec.name
    champion = Source(
        options.bundle,
        options.feature_repo,
        name,
        digest=spec.digest,
        variant=options.variant,
        previous=options.previous_bundle,
    )
    challengers = []
    for one in options.challengers:
        spec = read_bundle(one.bundle)
        source = Source(one.bundle, options.feature_repo, name, digest=spec.digest, variant=one.variant)
        challengers.append((one.described(spec.version, spec.digest), source))
    return Lineup(champion, challengers, options.experiment)


def _from_home(options: Options, home: Path) -> Lineup:
    active = served_model(home)
    name = options.model_name or active.name
    repo = Path(active.feature_repo) if active.feature_repo else None
    previous = Path(active.previous.bundle) if active.previous else None
    champion = Source(Path(active.bundle), repo, name, active.version, active.digest, options.variant, previous)
    return Lineup(champion, [(one, _source_of(one, name)) for one in active.challengers], active.experiment)


def _source_of(challenger: Challenger, name: str) -> Source:
    repo = Path(challenger.feature_repo) if challenger.feature_repo else None
    return Source(
        Path(challenger.bundle), repo, name, challenger.version, challenger.digest, variant=challenger.variant
    )
