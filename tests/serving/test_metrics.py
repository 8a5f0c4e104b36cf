"""The Prometheus page: names, labels and what is counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sextant_plan.bundle import Column, read_bundle
from sextant_plan.catalogue import COMMON_LABELS, KSERVE, SERIES
from sextant_plan.reference import Reference, bin_index, profile, read_reference
from sextant_serving.client import Client, Tensor
from sextant_serving.launch import Server, running_server
from sextant_serving.metrics import ModelMetrics
from sextant_serving.metrics_page import MetricsPage, StateReader, merge, pack, render
from sextant_serving.preprocessing import picture_statistics

MakeBundle = Callable[..., Path]


def scrape(client: Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample by name and the labels that are not common."""
    samples = {}
    for family in text_string_to_metric_families(client.metrics_text()):
        for sample in family.samples:
            labels = sorted((name, value) for name, value in sample.labels.items() if name not in COMMON_LABELS)
            samples[sample.name, tuple(labels)] = sample.value
    return samples


def test_the_page_has_the_catalogue_names_and_nothing_else(client: Client, server: Server) -> None:
    """Every series of the catalogue is there from the start, with its labels, and no other."""
    common = {"model": server.model, "version": "3", "variant": "stable"}
    names = set()
    for family in text_string_to_metric_families(client.metrics_text()):
        name = family.name + ("_total" if family.type == "counter" else "")
        names.add(name)
        labels = {"model_name": server.model} if name in KSERVE else common
        series = KSERVE.get(name) or SERIES[name]
        assert series.type == family.type
        for sample in family.samples:
            assert labels.items() <= sample.labels.items()
            assert sample.labels.keys() - {"le"} == {*labels, *series.labels}
    assert names == SERIES.keys() | KSERVE.keys()


def test_the_names_of_kserve_are_those_of_its_server() -> None:
    """Name, label and edges of each are what KServe's own server has; of its stages only `explain` is missing."""
    from kserve import metrics as theirs

    stages = (theirs.PRE_HIST_TIME, theirs.PREDICT_HIST_TIME, theirs.POST_HIST_TIME)
    expected = {}
    for stage in stages:
        (family,) = stage.labels("parcels").collect()
        edges = [sample.labels["le"] for sample in family.samples if sample.name.endswith("_bucket")]
        expected[family.name] = (family.type, tuple(stage._labelnames), edges)
    series = KSERVE.values()
    assert {one.name: (one.type, one.labels, [*map(str, one.buckets), "+Inf"]) for one in series} == expected


def big_page(bundle: Path, classes: list[str], columns: int) -> MetricsPage:
    """Return the page of two variants with so many columns of ten bins."""
    names = [f"c{place}" for place in range(columns)]
    spec = read_bundle(bundle).model_copy(
        update={"columns": [Column(name=name, default=0.0) for name in names], "classes": classes}
    )
    values = np.random.default_rng(5).normal(size=(columns, 200))
    profiles = [profile(name, row) for name, row in zip(names, values, strict=True)]
    reference = Reference(features=profiles, classes=dict.fromkeys(classes, 1))
    page = MetricsPage()
    page.show([ModelMetrics(spec, reference, ("{parcels}", "3", variant)) for variant in ("stable", "b")])
    return page


def test_label_values_of_any_text_are_read_back_as_they_were(bundle: Path) -> None:
    """Quotes, backslashes and line ends in a class's name survive the text format."""
    classes = ['say "hi"', "back\\slash", "two\nlines", "{0}", "plain"]
    text = render(big_page(bundle, classes, 1).state()).decode()
    families = text_string_to_metric_families(text)
    found = [one.labels["class"] for family in families for one in family.samples if "predictions" in one.name]
    assert found == classes * 2


def least_seconds(work: Callable[[], bytes]) -> float:
    """Return the processor time of `work` at best, the event loop's while it writes nearly 3,000 lines."""
    seconds = []
    for _ in range(20):
        begun = time.thread_time()
        text = work()
        seconds.append(time.thread_time() - begun)
        assert text.count(b"\n") > 2700
    return min(seconds)


def test_a_large_page_costs_little(bundle: Path) -> None:
    """It takes less than 5 ms, and the first time not much more than later."""
    page = big_page(bundle, ["a", "b"], 64)
    seconds = least_seconds(lambda: render(page.state()))
    fresh = iter([big_page(bundle, ["a", "b"], 64) for _ in range(20)])
    assert least_seconds(lambda: render(next(fresh).state())) < 3 * seconds < 0.015


def test_a_large_page_of_many_workers_costs_little(bundle: Path) -> None:
    """With what seven other workers have counted it takes about four times as long, not thirteen."""
    page, reader = big_page(bundle, ["a", "b"], 64), StateReader()
    packed = [pack(big_page(bundle, ["a", "b"], 64).state()) for _ in range(7)]
    one = least_seconds(lambda: render(page.state()))
    assert least_seconds(lambda: render(merge([page.state(), *map(reader.read, packed)]))) < 8 * one


def test_what_a_worker_has_counted_arrives_as_it_was(bundle: Path) -> None:
    """Lines and values survive the way to another worker, after other lines were read and after the same ones."""
    reader = StateReader()
    pages = [big_page(bundle, classes, 1) for classes in (['say "hi"', "two\nlines"], ["a"], ["a"])]
    for requests, page in enumerate(pages):
        for _ in range(requests):
            page.served[0].count_request(200, 0.004)
        assert render(reader.read(pack(page.state()))) == render(page.state())


def test_lines_that_only_one_process_has_are_kept(bundle: Path) -> None:
    """A view that one worker alone has looked up is on the common page, and what both have is added up."""
    one, other = big_page(bundle, ["a"], 1), big_page(bundle, ["a"], 1)
    for page, views in ((one, ("sizes",)), (other, ("prices", "sizes"))):
        page.served[0].feature_rows.update({(view, "found"): 2 for view in views})
    families = text_string_to_metric_families(render(merge([one.state(), other.state()])).decode())
    rows = {one.labels["view"]: one.value for family in families for one in family.samples if "view" in one.labels}
    assert rows == {"sizes": 4, "prices": 2}


def test_pages_of_several_processes_are_added_up(bundle: Path) -> None:
    """Counters and histograms are sums; ready is what is ready everywhere; other gauges are the largest."""
    one, other = big_page(bundle, ["a", "b"], 1), big_page(bundle, ["a", "b"], 1)
    for page, requests in ((one, 2), (other, 3)):
        metrics = page.served[0]
        metrics.ready, metrics.feature_times["view"] = page is one, float(requests)
        for _ in range(requests):
            metrics.count_request(200, 0.004)
    merged = merge([one.state(), other.state()])
    values = {
        (sample.name, sample.labels.get("le") or sample.labels.get("code") or sample.labels.get("view")): sample.value
        for family in text_string_to_metric_families(render(merged).decode())
        for sample in family.samples
        if sample.labels.get("variant") == "stable"
    }
    assert values["sextant_requests_total", "200"] == 5
    assert values["sextant_request_seconds_count", None] == values["sextant_request_seconds_bucket", "0.005"] == 5
    assert values["sextant_request_seconds_sum", None] == pytest.approx(0.02)
    assert values["sextant_ready", None] == 0
    assert values["sextant_feature_event_timestamp_seconds", "view"] == 3


def test_latency_limits_of_the_plan_are_exact_edges(client: Client) -> None:
    """The bundle's 33 ms is a bucket, beside those of the catalogue."""
    samples = scrape(client)
    edges = [dict(labels)["le"] for name, labels in samples if name == "sextant_request_seconds_bucket"]
    assert "0.033" in edges
    assert {"0.001", "5.0", "+Inf"} <= set(edges)


def test_answers_and_refusals_are_counted(client: Client) -> None:
    """A request counts by code and time, a row by class, a batch by rows."""
    before = scrape(client)
    rows: dict[str, Tensor] = {"image": np.zeros((3, 8, 8, 1), np.uint8), "features": np.zeros((3, 2), np.float32)}
    labels = client.infer_binary(rows)["label"]
    client.request("POST", f"/v1/models/{client.model}:predict", b"{}")
    after = scrape(client)

    def grown(name: str, **labels: str) -> float:
        key = name, tuple(sorted(labels.items()))
        return after[key] - before[key]

    assert grown("sextant_requests_total", code="200") == 1
    assert grown("sextant_requests_total", code="400") == 1
    assert grown("sextant_request_seconds_count") == 2
    assert grown("sextant_predictions_total", **{"class": labels[0]}) == 3
    assert grown("sextant_batch_rows_sum") == 3
    assert grown("sextant_device_seconds_count") == grown("sextant_queue_wait_seconds_count") == 1


def test_the_stages_of_requests_make_up_their_time(client: Client) -> None:
    """Reading, predicting and writing are each counted once a request, and take together what it takes."""
    rows: dict[str, Tensor] = {"image": np.zeros((3, 8, 8, 1), np.uint8), "features": np.zeros((3, 2), np.float32)}
    before = scrape(client)
    for _ in range(5):
        client.infer_binary(rows)
    after = scrape(client)
    client.request("POST", f"/v1/models/{client.model}:predict", b"{}")
    refused = scrape(client)
    label = (("model_name", client.model),)
    seconds = {name: after[f"{name}_sum", label] - before[f"{name}_sum", label] for name in KSERVE}
    whole = after["sextant_request_seconds_sum", ()] - before["sextant_request_seconds_sum", ()]
    assert all(stage > 0 for stage in seconds.values())
    assert sum(seconds.values()) == pytest.approx(whole, rel=1e-6)
    for name in KSERVE:
        assert after[f"{name}_count", label] - before[f"{name}_count", label] == 5
        assert refused[f"{name}_count", label] == after[f"{name}_count", label]


def test_stages_go_on_after_a_swap_and_are_shared_by_the_variants_of_a_name(bundle: Path) -> None:
    """What a replaced model counted under the name stays, through any number of swaps, and no line comes twice."""
    page = big_page(bundle, ["a", "b"], 1)
    for metrics in page.served:
        metrics.stages.predict.observe(0.1)
    for _ in range(3):
        page.show(big_page(bundle, ["a", "b"], 1).served)
    page.served[0].stages.predict.observe(0.1)
    lines = render(page.state()).decode().splitlines()
    counts = [line for line in lines if line.startswith("request_predict_seconds_count")]
    assert counts == ['request_predict_seconds_count{model_name="{parcels}"} 3.0']


def test_times_are_finer_than_the_loops_clock(client: Client) -> None:
    """No stage of a request is recorded as 0 or as whole milliseconds, which is all that uvloop's clock tells."""
    stages = ("request", "queue_wait", "device")
    image, features = np.zeros((1, 8, 8, 1), np.uint8), np.zeros((1, 2), np.float32)
    for _ in range(3):
        before = scrape(client)
        client.infer_binary({"image": image, "features": features})
        after = scrape(client)
        for stage in stages:
            name = f"sextant_{stage}_seconds_sum"
            milliseconds = 1000 * (after[name, ()] - before[name, ()])
            assert milliseconds > 0
            assert abs(milliseconds - round(milliseconds)) > 1e-6, stage


def test_inputs_are_counted_in_the_training_bins(client: Client, bundle: Path) -> None:
    """Each feature, the statistics of pictures too, grows by its rows in the bins that the reference defines."""
    before = scrape(client)
    image = np.stack([np.full((8, 8, 1), value, np.uint8) for value in (0, 120, 250, 255)])
    features = np.array([[-9, 0], [0, 1], [0.2, 2], [9, 2]], np.float32)
    client.infer_binary({"image": image, "features": features})
    after = scrape(client)
    values: dict[str, Any] = {"weight": features[:, 0], "zone": features[:, 1], **picture_statistics(image)}
    reference = read_reference(bundle / "reference.json")
    assert {feature.name for feature in reference.features} == values.keys()
    for feature in reference.features:
        expected = np.bincount(bin_index(values[feature.name], feature.edges), minlength=len(feature.counts))
        total = sum(feature.counts)
        for place, count in enumerate(feature.counts):
            labels = (("bin", str(place)), ("feature", feature.name))
            grown = after["sextant_feature_bin_total", labels] - before["sextant_feature_bin_total", labels]
            assert grown == expected[place]
            assert after["sextant_reference_ratio", labels] == count / total


def test_predicted_classes_are_counted_beside_the_training_classes(client: Client, bundle: Path) -> None:
    """Every row counts with its most probable class, in the order of the bundle's classes."""
    before = scrape(client)
    rows: dict[str, Tensor] = {"image": np.zeros((5, 8, 8, 1), np.uint8), "features": np.zeros((5, 2), np.float32)}
    labels = client.infer_binary(rows)["label"]
    after = scrape(client)
    reference = read_reference(bundle / "reference.json")
    classes = [dict(labels)["class"] for name, labels in after if name == "sextant_predictions_total"]
    for place, name in enumerate(classes):
        key = (("bin", str(place)), ("feature", "prediction"))
        grown = after["sextant_feature_bin_total", key] - before["sextant_feature_bin_total", key]
        assert grown == list(labels).count(name)
        assert after["sextant_reference_ratio", key] == reference.classes[name] / sum(reference.classes.values())


def test_rows_with_missing_and_unknown_values_are_counted(client: Client) -> None:
    """A row counts once whatever it lacks; a category that training never saw is not a missing one."""
    before = scrape(client)
    picture = np.zeros((8, 8, 1), np.uint8).tolist()
    rows = [
        {"image": picture, "weight": 1.0, "zone": "north"},
        {"image": picture, "weight": None, "zone": None},
        {"image": picture, "weight": 1.0, "zone": "west"},
        {"image": picture, "weight": 1.0},
    ]
    client.predict_v1(rows)
    after = scrape(client)
    grown = {
        dict(labels)["flaw"]: after[name, labels] - before[name, labels]
        for name, labels in after
        if name == "sextant_flawed_rows_total"
    }
    assert grown == {"missing": 2, "unknown-category": 1}


def test_far_outside_the_training_range_the_model_abstains(make_bundle: MakeBundle) -> None:
    """A number, or a picture's brightness, beyond the limit has no label; what is a little outside has one."""
    bundle = make_bundle(serving={"abstain_outside": 0.5})
    seen = {feature.name: feature for feature in read_reference(bundle / "reference.json").features}
    weight, brightness = seen["weight"], seen["image.brightness"]
    assert weight.low is not None
    assert weight.high is not None
    assert brightness.high is not None
    width, usual = weight.high - weight.low, (weight.low + weight.high) / 2
    weights = [usual, weight.high + 0.4 * width, weight.high + 0.6 * width, weight.low - 0.6 * width, usual]
    pixels = np.random.default_rng(7).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    pixels[4] = 255  # the training pictures are noise: none is so bright, or so even
    with running_server(bundle=bundle) as server, server.client() as client:
        sent = zip(pixels.tolist(), weights, strict=True)
        rows = [{"image": picture, "weight": value, "zone": "north"} for picture, value in sent]
        found = client.predict_v1(rows)
        assert [row["fallback"] for row in found] == [None, None, *["out-of-distribution"] * 3]
        assert [row["abstained"] for row in found] == [row["label"] is None for row in found]
        assert [row["abstained"] for row in found] == [False, False, True, True, True]
        assert scrape(client)["sextant_fallbacks_total", (("reason", "out-of-distribution"),)] == 3


def test_below_the_confidence_the_model_abstains(make_bundle: MakeBundle) -> None:
    """A row without a confident class has no label, is counted as a fallback and not as a prediction."""
    bundle = make_bundle(serving={"abstain_below": 0.99})
    with running_server(bundle=bundle) as server, server.client() as client:
        image, features = np.zeros((1, 8, 8, 1), np.uint8), np.zeros((1, 2), np.float32)
        assert client.infer_json({"image": image, "features": features})["label"] == [""]
        prediction = client.predict_v1([{"image": image[0].tolist(), "weight": 0.0, "zone": "north"}])[0]
        assert (prediction["label"], prediction["abstained"]) == (None, True)
        assert prediction["fallback"] == "low-confidence"
        assert client.send_feedback(prediction["prediction_id"], "light") == "abstained"
        samples = scrape(client)
    assert samples["sextant_fallbacks_total", (("reason", "low-confidence"),)] == 2
    assert sum(value for (name, _), value in samples.items() if name == "sextant_predictions_total") == 0


def test_ratings_are_counted_with_the_model_that_answered(client: Client) -> None:
    """A rating needs no label, and the label that comes later still finds its prediction."""
    client.infer_binary({"image": np.zeros((1, 8, 8, 1), np.uint8), "features": np.zeros((1, 2), np.float32)})
    assert client.prediction_id is not None
    before = scrape(client)
    client.send_rating(client.prediction_id, 5)
    client.send_rating(client.prediction_id, 1)
    after = scrape(client)
    grown = {
        dict(labels)["rating"]: after[name, labels] - before[name, labels]
        for name, labels in after
        if name == "sextant_ratings_total"
    }
    assert grown == {"1": 1, "2": 0, "3": 0, "4": 0, "5": 1}
    assert client.send_feedback(client.prediction_id, "light") in {"agree", "disagree"}


@pytest.mark.parametrize(
    "body", [b'{"prediction_id": "a"}', b'{"prediction_id": "a", "rating": 6}'], ids=["empty", "six"]
)
def test_feedback_that_says_nothing_valid_is_refused(client: Client, body: bytes) -> None:
    """Neither label nor rating, or a rating off the scale, is the client's fault."""
    assert client.request("POST", "/feedback", body, {"content-type": "application/json"})[0] == 400
