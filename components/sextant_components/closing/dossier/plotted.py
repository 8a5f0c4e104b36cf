"""Which artifacts are plotted, and how: learning curve, staleness, reliability, slices, latency, drift reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sextant_components.closing.dossier.blocks import Block, Drawing
from sextant_components.closing.dossier.claims import Claim
from sextant_components.closing.dossier.facts import Artifact
from sextant_components.closing.dossier.plots import Axes, Plot
from sextant_components.closing.dossier.wording import number, words
from sextant_plan.reference import Reference

MARGIN = 0.04
MOST_SLICES = 14
LATENCY_BARS = 24
TAIL = 0.99


def plot_of(artifact: Artifact, content: Any) -> list[Block]:
    """Return the plots of an artifact whose name is known and whose content has the expected shape, else none."""
    draw = _DRAWERS.get(artifact.name.rpartition("/")[2])
    if draw is None:
        return []
    try:
        plots = draw(content)
    except (
        LookupError,
        TypeError,
        ValueError,
        ZeroDivisionError,
    ):  # another version's: a table shows it
        return []
    return [Drawing(Claim(f"{plot.title}. {plot.text}", [artifact.record]), plot) for plot in plots]


def _learning(content: list[dict[str, Any]]) -> list[Plot]:
    points = sorted(content, key=lambda point: point["rows"])
    seen = [point for point in points if not point["extrapolated"]]
    ahead = [point for point in points if point["extrapolated"]]
    lowest, highest = min(point["low"] for point in points), max(point["high"] for point in points)
    axes = Axes(
        (0.0, max(point["rows"] for point in points) * (1 + MARGIN)), (lowest - MARGIN, min(1.0, highest + MARGIN))
    )
    for part, look in ((seen, "band"), ([seen[-1], *ahead], "band ahead")):
        edge = [(point["rows"], point["low"]) for point in part] + [(p["rows"], p["high"]) for p in reversed(part)]
        axes.area(edge, look)
    axes.line([(point["rows"], point["accuracy"]) for point in seen], "main")
    axes.line([(point["rows"], point["accuracy"]) for point in [seen[-1], *ahead]], "main ahead")
    for point in points:
        axes.dot(point["rows"], point["accuracy"], "main")
    last = ahead[-1] if ahead else seen[-1]
    text = (
        f"A quick model's accuracy, measured to {number(seen[-1]['rows'])} training rows and extrapolated (dashed) to "
        f"{number(last['rows'])}: {number(last['accuracy'])}, {number(last['low'])} to {number(last['high'])}."
    )
    return [axes.plot("Learning curve of the feasibility study", text, across="training rows", up="accuracy")]


def _staleness(content: list[dict[str, Any]]) -> list[Plot]:
    lowest, highest = min(each["low"] for each in content), max(each["high"] for each in content)
    axes = Axes(
        (0.0, max(each["age_days"] for each in content) * (1 + MARGIN)),
        (max(0.0, lowest - MARGIN), min(1.0, highest + MARGIN)),
    )
    points = [(each["age_days"], each["accuracy"]) for each in content]
    for each in content:
        axes.line([(each["age_days"], each["low"]), (each["age_days"], each["high"])], "interval")
    axes.line(points, "main")
    for point in points:
        axes.dot(*point, "main")
    first, last = content[0], content[-1]
    text = (
        f"A quick model of the oldest rows, judged on later ones: {number(round(first['accuracy'], 4))} at an age of "
        f"{number(round(first['age_days'], 1))} days, {number(round(last['accuracy'], 4))} at "
        f"{number(round(last['age_days'], 1))}; each period with its bounds."
    )
    return [axes.plot("Accuracy by the model's age", text, across="age in days", up="accuracy")]


def _reliability(content: list[dict[str, Any]]) -> list[Plot]:
    axes = Axes((0.0, 1.0), (0.0, 1.0))
    axes.line([(0, 0), (1, 1)], "guide")
    points = [(float(each["confidence"]), float(each["accuracy"])) for each in content if each["n"]]
    axes.line(points, "main")
    for point in points:
        axes.dot(*point, "main")
    gap = max((abs(x - y) for x, y in points), default=0.0)
    text = f"Share of right answers by stated probability, over {number(len(points))} bins of equal count; on the "
    text += f"dashed line a probability is worth what it says. The largest distance is {number(round(gap, 4))}."
    return [axes.plot("Reliability diagram", text, across="stated probability", up="share right")]


def _slices(content: list[dict[str, Any]]) -> list[Plot]:
    key = "value" if "value" in content[0] else "accuracy"
    rows = sorted(content, key=lambda each: float(each["low"]))[:MOST_SLICES]
    axes = Axes((0.0, float(len(rows))), (max(0.0, min(float(each["low"]) for each in rows) - MARGIN), 1.0))
    for place, each in enumerate(rows):
        axes.line([(place + 0.5, each["low"]), (place + 0.5, each["high"])], "interval")
        axes.dot(place + 0.5, each[key], "main")
    worst = rows[0]
    text = f"Accuracy of each slice with its bounds, the least proved first: {worst['slice']} has at least "
    text += f"{number(round(worst['low'], 4))}."
    names = [
        (place + 0.5, str(each["slice"]).partition("=")[2] or str(each["slice"])) for place, each in enumerate(rows)
    ]
    return [axes.plot("Bounds by slice", text, across="slice", up="accuracy", named=names)]


def _latency(content: dict[str, Any]) -> list[Plot]:
    times = sorted(float(value) for value in content["values_ms"])
    tail = times[min(len(times) - 1, int(TAIL * len(times)))]
    width = tail * (1 + MARGIN) / LATENCY_BARS
    counts = [
        sum(1 for value in times if place * width <= value < (place + 1) * width) for place in range(LATENCY_BARS)
    ]
    axes = Axes((0.0, width * LATENCY_BARS), (0.0, max(counts) * (1 + MARGIN)))
    for place, count in enumerate(counts):
        if count:
            axes.bar(place * width, (place + 1) * width, count, "bar")
    axes.line([(content["p99"], 0.0), (content["p99"], max(counts))], "guide")
    over = len(times) - sum(counts)
    text = (
        f"{number(len(times))} requests over HTTP; the median takes {number(content['p50'])} ms, the 99th percentile "
    )
    text += f"(dashed) {number(content['p99'])} ms; {number(over)} slower ones lie to the right."
    return [axes.plot("Distribution of request times", text, across="ms", up="requests")]


def _reference(content: dict[str, Any]) -> list[Plot]:
    plots = []
    for feature in Reference.model_validate(content).features:
        rows = sum(feature.counts)
        bins = len(feature.counts)
        shares = [count / rows for count in feature.counts]
        axes = Axes((0.0, float(bins)), (0.0, max(shares) * (1 + MARGIN)))
        for place, share in enumerate(shares):
            axes.bar(place + 0.04, place + 0.96, share, "bar")
        edges = [f"{edge:.3g}" for edge in feature.edges]
        names = [(place + 1.0, edge) for place, edge in enumerate(edges)]
        text = (
            f"Share of the {number(rows)} training rows in each bin of {words(feature.name)}; live rows are compared "
        )
        text += "with it. The numbers below are the edges of the bins."
        plots.append(
            axes.plot(f"Drift reference: {words(feature.name)}", text, across="edges", up="share", named=names)
        )
    return plots


def _corruptions(content: list[dict[str, Any]]) -> list[Plot]:
    axes = Axes((0.5, 5.5), (0.0, 1.0))
    kinds = list(dict.fromkeys(str(each["corruption"]) for each in content))
    for kind in kinds:
        points = [(float(each["severity"]), float(each["value"])) for each in content if each["corruption"] == kind]
        axes.line(points, "main")
        for point in points:
            axes.dot(*point, "main")
    worst = min(content, key=lambda each: float(each["value"]))
    text = (
        f"Accuracy under {number(len(kinds))} corruptions from severity 1 to 5, a line each; criteria judge severity "
    )
    text += f"3. The least is {number(round(float(worst['value']), 4))}, of {words(str(worst['corruption']))} at "
    text += f"severity {number(worst['severity'])}."
    return [axes.plot("Accuracy as pictures get worse", text, across="severity", up="accuracy")]


def _ageing(content: list[dict[str, Any]]) -> list[Plot]:
    measure = str(content[0].get("measure", "accuracy"))
    bounded = [each for each in content if each["low"] is not None]  # rows of one group alone give an error no bound
    ends = [float(each[end]) for each in bounded for end in ("low", "high")] + [each["value"] for each in content]
    highest = 1.0 if measure == "accuracy" else max(ends) * (1 + MARGIN)
    axes = Axes((0.0, float(content[-1]["age_days"]) * (1 + MARGIN)), (max(0.0, min(ends) - MARGIN), highest))
    for each in bounded:
        axes.line([(each["age_days"], each["low"]), (each["age_days"], each["high"])], "interval")
    for each in content:
        axes.dot(each["age_days"], each["value"], "main")
    axes.line([(each["age_days"], each["value"]) for each in content], "main")
    named = measure[0].upper() + measure[1:]
    text = f"{named} of a model fitted on the oldest half of the rows, over {number(len(content))} later windows of "
    text += f"time, with bounds: {number(round(content[0]['value'], 4))} in the first and "
    text += f"{number(round(content[-1]['value'], 4))} in the last."
    return [axes.plot(f"{named} as a model ages", text, across="age, days", up=measure)]


_DRAWERS: dict[str, Callable[[Any], list[Plot]]] = {
    "learning_curve.json": _learning,
    "staleness.json": _staleness,
    "reliability.json": _reliability,
    "slices.json": _slices,
    "corruptions.json": _corruptions,
    "ageing.json": _ageing,
    "latency.json": _latency,
    "reference.json": _reference,
}
