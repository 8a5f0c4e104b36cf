"""Where the network fails, the plan's chain answers: the version before, then what the training rows say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sextant_plan.bundle import Column, read_bundle
from sextant_plan.reference import FeatureReference, Reference, profile
from sextant_serving.engines import Inputs, Outputs
from sextant_serving.launch import running_server
from sextant_serving.options import parse_options
from sextant_serving.stand_ins import Baseline, Guarded, StandIn, load_stand_ins

MakeBundle = Callable[..., Path]
CHAIN = ["previous-version", "baseline"]
DARK = [[[0]] * 8] * 8
BEYOND = {"image": DARK, "weight": 3e38, "zone": "north"}  # the sum of such a row is no number to the network
SOUND = {"image": DARK, "weight": 1.0, "zone": "north"}


class Broken:
    """An engine that fails until it is mended."""

    def __init__(self) -> None:
        self.mended = False

    def run(self, inputs: Inputs) -> Outputs:
        """Return ones, or raise as an engine's library does."""
        if not self.mended:
            raise RuntimeError("device lost")
        return np.ones((len(inputs["features"]), 3), np.float32)


def _ask(bundle: Path, *options: str) -> tuple[list[dict[str, Any]], str]:
    """Return the answers to a row beyond all numbers and to a sound one, and the metrics page."""
    with running_server(bundle=bundle, arguments=options) as server, server.client() as client:
        answers = [client.predict_v1([row])[0] for row in (BEYOND, SOUND)]
        return answers, client.metrics_text()


def test_the_version_before_answers_first(make_bundle: MakeBundle) -> None:
    """Its answer is marked and counted; the next request is answered by the model itself."""
    bundle = make_bundle(gain=1e3, serving={"engine_failure": CHAIN})
    (beyond, sound), page = _ask(bundle, "--previous-bundle", str(make_bundle(gain=0.0)))
    assert (beyond["fallback"], sound["fallback"]) == ("previous-version", None)
    # Without gain only the picture counts, and it is dark.
    assert list(beyond["probabilities"].values()) == pytest.approx([1 / 3] * 3, abs=1e-4)
    assert 'reason="previous-version"' in page


def test_the_shares_of_the_training_rows_answer_where_nothing_else_does(make_bundle: MakeBundle) -> None:
    """There is no version before, or it fails on the same row."""
    bundle = make_bundle(gain=1e3, serving={"engine_failure": CHAIN})
    for options in ((), ("--previous-bundle", str(make_bundle(gain=2e3)))):
        (beyond, sound), _ = _ask(bundle, *options)
        assert (beyond["fallback"], sound["fallback"]) == ("baseline", None)
        assert list(beyond["probabilities"].values()) == pytest.approx([1 / 3] * 3)


def test_without_a_chain_an_engine_error_is_the_servers() -> None:
    """Nobody is answered by something that the plan does not name."""
    with pytest.raises(RuntimeError, match="device lost"):
        Guarded(Broken()).run({"features": np.zeros((1, 2), np.float32)})


def test_a_mended_engine_answers_again() -> None:
    """Each batch tries the network first."""
    engine, inputs = Broken(), {"features": np.zeros((2, 2), np.float32)}
    stand_in = Broken()
    stand_in.mended = True
    guarded = Guarded(engine, [StandIn("broken too", Broken()), StandIn("baseline", stand_in)])
    assert guarded.run(inputs)[1] == "baseline"
    engine.mended = True
    assert guarded.run(inputs)[1] is None


def test_a_chain_that_fails_to_its_end_gives_the_engines_own_error() -> None:
    """The stand-ins' failures hide nothing."""
    with pytest.raises(RuntimeError, match="device lost"):
        Guarded(Broken(), [StandIn("baseline", Broken())]).run({"features": np.zeros((1, 2), np.float32)})


def test_a_version_that_reads_otherwise_does_not_stand_in(
    make_bundle: MakeBundle, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left out with a word, and so is one that is gone; the server serves."""
    spec = read_bundle(make_bundle(serving={"engine_failure": CHAIN}))
    other = make_bundle(columns=[Column(name="weight", default=2.0), Column(name="height", default=1.0)])
    reference = Reference(features=[], classes=dict.fromkeys(spec.classes, 1))
    for previous, word in ((other, "reads or answers otherwise"), (other / "gone", "bundle.json")):
        found = load_stand_ins(spec, reference, previous, threads=1)
        assert [each.reason for each in found] == ["baseline"]
        assert word in caplog.text


@pytest.mark.parametrize(
    ("values", "expected"), [(np.arange(1001.0), 500.0), (np.full(9, 3.0), 3.0)], ids=["spread", "all alike"]
)
def test_the_baseline_of_a_number_is_the_median_of_the_training_rows(
    make_bundle: MakeBundle, values: Any, expected: float
) -> None:
    """To within the bins of the reference profile."""
    spec = read_bundle(make_bundle()).model_copy(update={"classes": []})
    bins: FeatureReference = profile("price", values)
    answer = Baseline(spec, Reference(features=[], classes={}, prediction=bins)).run({"features": np.zeros((2, 2))})
    assert answer.tolist() == [[pytest.approx(expected, abs=1)]] * 2


def test_a_previous_bundle_goes_with_a_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    """A home names the version before by itself."""
    with pytest.raises(SystemExit):
        parse_options(["--home", "here", "--previous-bundle", "there"])
    assert "active.json names the version before" in capsys.readouterr().err


def test_an_answer_that_is_no_number_has_no_label(make_bundle: MakeBundle) -> None:
    """Where the plan names nobody, the model abstains instead of naming whichever class comes first."""
    (beyond, sound), _ = _ask(make_bundle(gain=1e3))
    assert (beyond["label"], beyond["abstained"], beyond["fallback"]) == (None, True, "low-confidence")
    assert sound["label"] is not None
