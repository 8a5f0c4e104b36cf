"""Watching a server over HTTP: verdicts as it goes on, what is exported, and the report."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import polars as pl
import pytest

from sextant_monitoring.ageing import LossPerDay, loss_samples
from sextant_monitoring.exporter import Exporter
from sextant_monitoring.history import History
from sextant_monitoring.http import ServerSilent
from sextant_monitoring.launcher import TimeWindow
from sextant_monitoring.probe import Prober, ProbeResult
from sextant_monitoring.quality import LabelLogs, WindowQuality, last_due_window
from sextant_monitoring.scrape import Scrape, parse_scrape
from sextant_monitoring.watch_report import looks_by_window, render_report
from sextant_monitoring.watcher import Look, Watcher
from sextant_plan.bounds import proportion
from sextant_plan.bundle import BundleSpec, Member, ServingSpec, Tensor, read_bundle, seal_bundle
from sextant_plan.catalogue import COMMON_LABELS
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict
from sextant_plan.window import Sample, Window

TARGET = ("parcels", "1", "stable")
STARTED = 1_700_000_000.0


class Served:
    """A local address that shows a metrics page and answers golden requests with `probabilities`."""

    def __init__(self) -> None:
        self.page = ""
        self.version = "7"  # of the registry; a bundle's own is a digest
        self.probabilities: list[float] | None = [0.25, 0.75]
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(200, served.page)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                outputs = [{"name": "probabilities", "data": served.probabilities}]
                status = 503 if served.probabilities is None else 200
                self._send(status, json.dumps({"model_version": served.version, "outputs": outputs}))

            def _send(self, status: int, text: str) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Keep the test's output quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def served() -> Iterator[Served]:
    """A server on a free port of this machine; it is closed after the test."""
    found = Served()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A sealed bundle of four golden requests, each to be answered by 0.25 and 0.75."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    features = np.arange(8, dtype=np.float32).reshape(4, 2)
    np.savez(
        folder / "golden.npz",
        features=features,
        probabilities=np.tile(np.array([0.25, 0.75], dtype=np.float32), (4, 1)),
    )
    (folder / "model.onnx").write_bytes(b"weights")
    serving = ServingSpec(
        max_rows=8,
        max_wait=0,
        queue_rows=8,
        deadline=1,
        latency_edges_ms=[],
        abstain_below=0,
        missing_features="default",
    )
    spec = BundleSpec(
        name="parcels",
        version="1",
        task="tabular-classification",
        engine="onnx",
        members=[Member(file="model.onnx", architecture="linear")],
        image=None,
        columns=[],
        entity=None,
        feature_service=None,
        classes=["a", "b"],
        inputs=[Tensor(name="features", datatype="FP32", shape=[-1, 2])],
        outputs=[Tensor(name="probabilities", datatype="FP32", shape=[-1, 2])],
        serving=serving,
        golden_tolerance=1e-4,
        plan_hash="sha256:0",
        data_hash="sha256:0",
        created=STARTED,
        files={},
    )
    seal_bundle(folder, spec)
    return folder


def _page(new_page: Callable[..., Any], *, good: float, bad: float) -> str:
    return str(new_page({"sextant_requests_total": {("200",): good, ("500",): bad}}).render())


def _verdict(look: Look, name: str) -> Verdict:
    return next(judged.verdict for judged in look.judged if judged.name == name)


def test_a_verdict_needs_two_looks_and_follows_the_counters(
    counted_plan: Plan, served: Served, new_page: Callable[..., Any]
) -> None:
    """Unknown at first, pass on good requests, fail when errors come, and the exit follows the worst."""
    watcher = Watcher(counted_plan, served.url)
    seen = []
    for minute, (good, bad) in enumerate([(10.0, 0.0), (2010.0, 0.0), (3010.0, 500.0)]):
        served.page = _page(new_page, good=good, bad=bad)
        seen.append(watcher.look(STARTED + 60 * minute))
    assert [_verdict(look, "errors") for look in seen] == [Verdict.UNKNOWN, Verdict.PASS, Verdict.FAIL]
    assert [look.verdict for look in seen] == [Verdict.UNKNOWN, Verdict.UNKNOWN, Verdict.FAIL]


def test_a_server_that_is_not_there_is_named(counted_plan: Plan) -> None:
    """The address is in the error, and the exit is that of the machine."""
    with pytest.raises(ServerSilent, match=r"http://127\.0\.0\.1:9/metrics: .*Is the server up"):
        Watcher(counted_plan, "http://127.0.0.1:9").look(STARTED)


def test_a_restart_between_looks_loses_nothing_but_what_nobody_saw() -> None:
    """Increments are added up look by look: 10, then 4 since the restart, then 6."""
    key = ("sextant_requests_total", frozenset({("code", "200")}))
    history = History(3600)
    for place, value in enumerate((5.0, 15.0, 4.0, 10.0)):
        history.add(Scrape({key: value}, {}, STARTED + 60 * place))
    window = history.window(180)
    assert window is not None
    assert [sample.value for sample in window.samples] == [20.0]
    assert (window.seconds, window.over(60)) == (180, None)
    short = history.window(180, [60])
    assert short is not None
    last = short.over(60)
    assert last is not None
    assert [sample.value for sample in last.samples] == [6.0]


def test_age_is_held_against_the_staleness_curve(
    make_plan: Callable[..., Plan], served: Served, new_page: Callable[..., Any]
) -> None:
    """Sealed 60 days ago at 0.05 % a day: 3 % are lost, more than the plan's 2 %; an unproved loss is none."""
    plan = make_plan(criteria=[{"id": "ageing", "metric": "staleness_loss", "at_most": 0.02, "enforce": ["alert"]}])
    served.page = new_page({"sextant_model_created_timestamp_seconds": {(): STARTED - 60 * 86400}}).render()
    verdicts = {}
    for name, loss in {"proved": LossPerDay(5e-4, 4e-4, 6e-4), "noise": LossPerDay(5e-4, -1e-4, 1e-3)}.items():
        watcher = Watcher(plan, served.url, ageing=loss)
        watcher.look(STARTED - 60)
        look = watcher.look(STARTED)
        (judged,) = [each for each in look.judged if each.name == "ageing"]
        assert judged.worst is not None
        assert judged.worst.estimate is not None
        verdicts[name] = (judged.verdict, round(judged.worst.estimate.value, 6))
        assert {sample.labels["bound"] for sample in look.ageing} == {"value", "low", "high"}
    assert verdicts == {"proved": (Verdict.FAIL, 0.03), "noise": (Verdict.PASS, 0.0)}


class _Away:
    """Logs that lie elsewhere: of a window that is fetched, `rows` predictions come into the folder."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.logs = LabelLogs(folder, folder / "feedback.jsonl")
        self.asked: list[float] = []
        self.answers, self.rows = True, 1
        self.plan = plan

    def fetch(self, now: float) -> bool:
        """Have the rows of the window that is due at `now`, and no others."""
        self.asked.append(now)
        if self.answers:
            start = last_due_window(self.plan, now).start
            usual = {"model": "parcels", "version": "1", "variant": "stable", "label": "a", "probability": 0.75}
            rows = [
                {**usual, "prediction_id": str(place), "time": datetime.fromtimestamp(start + place, UTC)}
                for place in range(self.rows)
            ]
            pl.DataFrame(rows).write_parquet(self.logs.predictions / "0.parquet")
        return self.answers


@pytest.fixture
def away(make_plan: Callable[..., Plan], tmp_path: Path) -> _Away:
    """Logs that have to be fetched, under a plan with windows of ten minutes and labels that are due after an hour."""
    plan = make_plan(monitoring={"window": "10m", "min_rows": 200, "labels": {"delay": "1h"}})
    return _Away(plan, tmp_path)


def test_logs_are_fetched_once_a_window_for_the_look_that_judges_it(
    away: _Away, served: Served, new_page: Callable[..., Any]
) -> None:
    """Whenever a window becomes due it is judged by what was fetched as of that very look, never by what lay there."""
    served.page = _page(new_page, good=10.0, bad=0.0)
    watcher = Watcher(away.plan, served.url, logs=away.logs, fetch=away.fetch)
    begun = STARTED // 600 * 600
    times = [begun + 1, begun + 300, begun + 599.5, begun + 600.5, begun + 900]
    judged = [[(each.window, each.due) for each in watcher.look(now).quality] for now in times]
    assert judged == [[(last_due_window(away.plan, now), 1)] for now in times]
    assert away.asked == [begun + 1, begun + 600.5]


def test_a_window_whose_logs_cannot_be_fetched_waits(away: _Away, served: Served, new_page: Callable[..., Any]) -> None:
    """The figures before it stand until the store answers again; then it is judged, at the next look."""
    served.page = _page(new_page, good=10.0, bad=0.0)
    watcher = Watcher(away.plan, served.url, logs=away.logs, fetch=away.fetch)
    begun = STARTED // 600 * 600
    (before,) = watcher.look(begun + 1).quality
    away.answers, away.rows = False, 2
    assert watcher.look(begun + 601).quality == watcher.look(begun + 602).quality == [before]
    away.answers = True
    (after,) = watcher.look(begun + 603).quality
    assert (after.window, after.due) == (last_due_window(away.plan, begun + 603), 2)
    assert away.asked == [begun + 1, begun + 601, begun + 602, begun + 603]


def test_old_scrapes_make_way() -> None:
    """A window is never longer than what is kept, however long one watches."""
    history = History(120)
    for place in range(100):
        history.add(Scrape({}, {}, STARTED + 60 * place))
    assert history.seconds == 120


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        pytest.param([0.25, 0.75], 4, id="as sealed"),
        pytest.param([0.25005, 0.74995], 4, id="within the tolerance"),
        pytest.param([0.3, 0.7], 0, id="other numbers"),
        pytest.param([0.25], 0, id="another shape"),
        pytest.param(None, 0, id="refused"),
    ],
)
def test_golden_requests_must_be_answered_as_sealed(
    answer: list[float] | None, right: int, served: Served, bundle: Path
) -> None:
    """Anything but the sealed numbers, within the bundle's tolerance, is wrong."""
    served.probabilities = answer
    prober = Prober(served.url, bundle, "7", every=400)
    found = [prober.probe(STARTED + 100 * place) for place in range(6)][-1]
    assert found is not None
    assert (found.version, found.right, found.sent) == ("7", right, 4)


def test_another_version_in_service_is_not_judged_by_this_bundle(served: Served, bundle: Path) -> None:
    """While a rollout runs the answers may be another model's."""
    served.version = "8"
    assert Prober(served.url, bundle, "7", every=400).probe(STARTED) is None


def test_a_server_that_calls_the_bundle_by_its_own_version_is_judged(served: Served, bundle: Path) -> None:
    """So does one that was given the bundle, as on a cluster, where the registry has a number for it."""
    served.version = read_bundle(bundle).version
    found = Prober(served.url, bundle, "17", every=400).probe(STARTED)
    assert found is not None
    assert (found.version, found.right) == ("17", 1)


def test_golden_requests_go_on_while_the_server_gives_no_page(
    served: Served, bundle: Path, make_plan: Callable[..., Plan]
) -> None:
    """A look in vain asks on; the share of right answers and the readiness are judged, and nothing else."""
    served.probabilities = None
    watcher = Watcher(make_plan(), served.url, prober=Prober(served.url, bundle, "7", every=400))
    look = watcher.look_in_vain(STARTED)
    assert look.probed is not None
    assert (look.probed.right, look.probed.sent) == (0, 1)
    judged = {each.name: each.verdict for each in look.judged if each.readings}
    assert judged.pop("probe") is Verdict.FAIL
    assert list(judged.values()) == [Verdict.FAIL]


def test_golden_requests_are_spread_over_the_window(served: Served, bundle: Path) -> None:
    """Looking more often asks no more, and each of the four is asked once in the time given."""
    prober = Prober(served.url, bundle, "7", every=400)
    sent = [found.sent for second in range(0, 400, 20) if (found := prober.probe(STARTED + second)) is not None]
    assert (sent[0], sent[4], sent[5], sent[-1]) == (1, 1, 2, 4)


def test_the_report_shows_each_window_that_was_watched_to_its_end(
    counted_plan: Plan, served: Served, new_page: Callable[..., Any]
) -> None:
    """A window's verdict is that of the first look after its end; one that was watched in part only is left out."""
    minutes = counted_plan.monitoring.model_copy(update={"window": 60.0})
    plan = counted_plan.model_copy(update={"monitoring": minutes})
    watcher, looks = Watcher(plan, served.url), []
    for second, bad in ((10, 0.0), (50, 0.0), (70, 0.0), (100, 300.0), (130, 600.0)):
        served.page = _page(new_page, good=10.0 + 30 * second, bad=bad)
        looks.append(watcher.look(STARTED + 40 + second))  # STARTED is 40 s past a window's end
    windows = looks_by_window(plan, looks)
    assert [(window.end - STARTED, look.at - STARTED) for window, look in windows] == [(100.0, 110.0), (160.0, 170.0)]
    text = render_report(plan, looks, [])
    errors = [line.count('class="fail"') for line in text.partition("By window")[2].splitlines() if "UTC" in line]
    assert errors[0] == 0
    assert errors[1] >= 1


def test_the_exporter_shows_quality_and_probe_under_the_catalogues_names(make_plan: Callable[..., Plan]) -> None:
    """What the rules read is on the page, and nothing is before the first look."""
    quality = WindowQuality(
        TimeWindow(0, 3600),
        TARGET,
        100,
        80,
        0.9,
        {"night": proportion(70, 80, 0.95)},
        {"a": 0.1, "b": -0.1},
        {"a": 0.02, "b": 0.02},
    )
    sealed = Sample("sextant_model_created_timestamp_seconds", dict(zip(COMMON_LABELS, TARGET, strict=True)), STARTED)
    exporter = Exporter(make_plan())
    port = exporter.start("127.0.0.1", 0)
    try:
        url = f"http://127.0.0.1:{port}/metrics"
        with urlopen(url, timeout=10) as response:
            assert response.read() == b""
        ageing = loss_samples(LossPerDay(5e-4, 4e-4, 6e-4), Window((sealed,)))
        exporter.show(Look(STARTED, 60, [], [quality], ProbeResult("1", 3, 4, 0.02), ageing))
        with urlopen(url, timeout=10) as response:
            gauges = parse_scrape(response.read().decode()).gauges
    finally:
        exporter.stop()
    values = {
        (name, dict(labels).get("bound") or dict(labels).get("class")): value
        for (name, labels), value in gauges.items()
    }
    assert values["sextant_probe_success", None] == 0.75
    assert values["sextant_label_join_ratio", None] == 0.8
    assert values["sextant_quality_ratio", "value"] == 0.875
    assert values["sextant_quality_rows", None] == 80
    assert values["sextant_prediction_bias_ratio", "b"] == -0.1
    assert values["sextant_prediction_bias_standard_error_ratio", "b"] == 0.02
    assert values["sextant_labelled_rows", None] == 80
    assert values["sextant_staleness_loss_per_day_ratio", "low"] == 4e-4
    assert values["sextant_expected_accuracy_ratio", None] == 0.9
    assert values["sextant_probe_seconds", None] == 0.02


def test_the_report_shows_each_rule_and_each_windows_quality(
    counted_plan: Plan, served: Served, new_page: Callable[..., Any]
) -> None:
    """Verdict, value, bounds and rows of every rule, past quality, and no script."""
    watcher = Watcher(counted_plan, served.url)
    looks = []
    for minute, (good, bad) in enumerate([(10.0, 0.0), (2010.0, 2.0), (3010.0, 500.0)]):
        served.page = _page(new_page, good=good, bad=bad)
        looks.append(watcher.look(STARTED + 60 * minute))
    quality = WindowQuality(
        TimeWindow(STARTED, STARTED + 3600), TARGET, 100, 80, 0.9, {"live": proportion(70, 80, 0.95)}
    )
    text = render_report(counted_plan, looks, [quality], {"1": STARTED - 2 * 86400})
    assert "By window" not in text
    assert '<td class="number">2.00</td><td class="number">0.8750</td>' in text
    assert all(judged.name in text for judged in looks[-1].judged)
    assert '<td class="fail">fail</td><td class="number">0.1429</td>' in text
    assert "<polyline" in text
    assert "0.8750" in text
    assert "80.0%" in text
    assert "<script" not in text
