"""The benchmark as a page: tables in Markdown and one plot, from benchmarks.json alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.serving.measure import RAW, Cell
from benchmarks.serving.models import MODELS
from benchmarks.serving.servers import CONTENDERS, OURS
from benchmarks.serving.targets import target_lines
from benchmarks.serving.wires import TITLES, WIRES

PLOT = "images/benchmarks-serving.svg"
NOT_TAKEN = {
    "kserve": "no batching of its own in the Python server; a JPEG goes as BYTES in base64",
    "mlserver": "no binary tensors over REST; a JPEG goes as BYTES in base64",
    "bentoml": "its batchable endpoint takes nested lists, sent in JSON; no bare bytes, no gRPC",
    "litserve": "JSON bodies only; a JPEG goes in base64",
    "ray": "bytes on a route of its own: the same document, bare tensor or JPEG; no gRPC of the protocol",
    "mosec": "bytes on a route of its own: the same document, bare tensor or JPEG; no gRPC. Its front is Rust, "
    "which is its lead on networks of microseconds",
}

MOSEC = "mosec"
PYTHON_PEERS = tuple(name for name in CONTENDERS if name not in OURS | {MOSEC})

Key = tuple[str, str, str, int]
Cells = dict[Key, Cell]


def write_report(document: dict[str, Any], out: Path) -> None:
    """Write benchmarks.md and the plot below `out`."""
    rounds = _by_key(Cell(**parts) for parts in document["cells"])
    cells = {key: _typical(measured) for key, measured in rounds.items()}
    (out / "images").mkdir(exist_ok=True)
    _plot(cells, out / PLOT)
    (out / "benchmarks.md").write_text("\n".join(_page(document, cells, rounds)) + "\n")


def _by_key(cells: Iterable[Cell]) -> dict[Key, list[Cell]]:
    """Return the rounds of each model, format, server and number of connections."""
    rounds: dict[Key, list[Cell]] = defaultdict(list)
    for cell in cells:
        rounds[cell.model, cell.wire, cell.server, cell.connections].append(cell)
    return rounds


def _typical(rounds: list[Cell]) -> Cell:
    """Return the medians of a cell's rounds, and the sums of what it counts."""
    medians = {
        field: median(getattr(cell, field) for cell in rounds) for field in ("rate", "p50_ms", "p99_ms", "cpu_ms")
    }
    counts = {field: sum(getattr(cell, field) for cell in rounds) for field in ("requests", "errors")}
    return replace(rounds[0], **medians, **counts)


def _page(document: dict[str, Any], cells: Cells, rounds: dict[Key, list[Cell]]) -> Iterator[str]:
    before, after = document["load_average"]
    yield from (
        "# Benchmarks",
        "",
        "Written by `python -m benchmarks.serving`, which installs each peer from its own hashed lock and measures all",
        "servers in one run: the same ONNX file on one thread of ONNX Runtime in each, the server on core 0, the load",
        "on core 1, each connection sending its next request when it has the answer to the last. Batches have at most",
        "32 rows and wait at most 2 ms, where a server has batches. The socket alone is an event loop that answers",
        "each request unread: with the model on the same core it is the most that a server on such a loop can reach.",
        "All servers of a model are up at once and take turns; a figure is the median of the rounds. Each starts as it",
        "does by itself. Sextant asks for huge pages then ([decision 50](adr/0050-huge-pages.md)), and the model alone",
        "has them too.",
        "",
        f"{document['cpu']}, {document['cores']} cores; Python {document['python']}; {document['rounds']} rounds of "
        f"{document['seconds']:g} s a cell; load average {before:.1f} before and {after:.1f} after.",
    )
    if document.get("first"):
        yield "Server and load ran at real-time priority, before the servers that waited and the machine's other work."
    else:
        yield "The servers that waited had core 0 as well: what they do while nobody asks is in the figures."
    if not document.get("first") and max(before, after) > 2.5:
        yield from (
            "The machine had other work at the same time, so rates and times are lower bounds; processor time for a",
            "request suffers less. Compare within a table, not with other machines.",
        )
    yield from ("", f"![Requests a second at 32 connections]({PLOT})", "")
    connections = sorted({key[3] for key in cells})
    models = [name for name in MODELS if any(key[0] == name for key in cells)]
    yield from target_lines(cells, rounds, models)
    for model in models:
        yield from (f"## {model}", "", MODELS[model].text[0].upper() + MODELS[model].text[1:] + ".", "")
        for count in connections:
            yield from _table(cells, model, count)
    yield from _leads(rounds)
    yield from ("## What each server was sent", "", "| server | version | notes |", "|---|---|---|")
    for name, version in document["versions"].items():
        if name == "socket":
            continue
        yield f"| {CONTENDERS[name].title} | {version} | {NOT_TAKEN.get(name, 'all four formats')} |"
    for what, problem in document["failures"].items():
        yield f"\nNot measured: {what} ({problem})."


def _leads(rounds: dict[Key, list[Cell]]) -> Iterator[str]:
    """Yield the table of how many times as many requests a second as the peers Sextant answers, round by round."""
    yield from (
        "## Sextant beside its peers",
        "",
        "Requests a second as a multiple of those of the nearest Python peer, named, and of mosec: the median of the",
        "rounds' ratios, and the least and the most of them.",
        "",
        "| model | connections | format | nearest Python peer | mosec |",
        "|---|---|---|---|---|",
    )
    for (model, wire, server, connections), ours in rounds.items():
        if server != "sextant":
            continue
        found = {peer: rounds[key] for peer in CONTENDERS if (key := (model, wire, peer, connections)) in rounds}
        ratios = {
            peer: [one.rate / other.rate for one, other in zip(ours, theirs, strict=False)]
            for peer, theirs in found.items()
            if not any(cell.errors or not cell.rate for cell in (*ours, *theirs))
        }
        peers = [peer for peer in PYTHON_PEERS if peer in ratios]
        nearest = min(peers, key=lambda peer: median(ratios[peer]), default=None)
        words = f"{_spread(ratios[nearest])}, {CONTENDERS[nearest].title}" if nearest else ""
        mosec = _spread(ratios[MOSEC]) if MOSEC in ratios else ""
        yield f"| {model} | {connections} | {TITLES[wire]} | {words} | {mosec} |"
    yield ""


def _spread(ratios: list[float]) -> str:
    return f"**{median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})"


def _table(cells: Cells, model: str, connections: int) -> Iterator[str]:
    """Yield one table: a row a server, a column a format; the model alone on top."""
    raw = cells.get((model, RAW, RAW, connections))
    wires = [wire for wire in WIRES if any(key[:2] == (model, wire) for key in cells)]
    yield f"{connections} connection{'s' if connections > 1 else ''}: requests a second, median ms, CPU ms a request."
    yield from ("", "| | " + " | ".join(TITLES[wire] for wire in wires) + " |", "|---|" + "---|" * len(wires))
    if raw is not None:
        bare = f"{raw.rate:,.0f}/s · {raw.p50_ms:.2f} ms a batch · {raw.cpu_ms:.3f} ms"
        yield f"| the model alone | {bare} |" + " |" * (len(wires) - 1)
    for name, contender in CONTENDERS.items():
        shown = [_shown(cells.get((model, wire, name, connections))) for wire in wires]
        if any(shown):
            yield f"| {contender.title} | " + " | ".join(shown) + " |"
    yield ""
    yield from _shares(cells, model, connections)


def _shares(cells: Cells, model: str, connections: int) -> Iterator[str]:
    """Yield how near the server comes to the model alone, and to what one core can do with model and socket."""
    raw, socket, ours = (
        cells.get((model, wire, name, connections))
        for wire, name in ((RAW, RAW), ("binary", "socket"), ("binary", "sextant"))
    )
    if connections > 1 and raw and socket and ours:
        most = 1 / (1 / raw.rate + 1 / socket.rate)
        yield (
            f"v2 binary: {ours.rate / raw.rate:.2f} of the model alone. Model and socket together allow {most:,.0f}/s "
            f"on one core, {most / raw.rate:.2f} of it; Sextant reaches {ours.rate / most:.2f} of that."
        )
        yield ""


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return ""
    if cell.errors:
        return f"{cell.errors} of {cell.requests} failed"
    return f"{cell.rate:,.0f}/s · {cell.p50_ms:.2f} · {cell.cpu_ms:.3f}"


def _plot(cells: Cells, path: Path) -> None:
    """Draw the requests a second at the most connections, one panel a model, one group a format."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "sextant"  # the same figures give the same file
    from matplotlib import pyplot as plt

    models = [name for name in MODELS if any(key[0] == name for key in cells)]
    most = max(key[3] for key in cells)
    figure, axes = plt.subplots(len(models), 1, figsize=(9, 2.4 * len(models)), squeeze=False, layout="constrained")
    names = [name for name in CONTENDERS if any(key[2] == name for key in cells)]
    for axis, model in zip(axes[:, 0], models, strict=True):
        for place, name in enumerate(names):
            found = [cells.get((model, wire, name, most)) for wire in WIRES]
            heights = [cell.rate if cell is not None and not cell.errors else 0.0 for cell in found]
            offsets = [group + 0.8 * (place + 0.5) / len(names) - 0.4 for group in range(len(WIRES))]
            axis.bar(offsets, heights, 0.8 / len(names), label=CONTENDERS[name].title)
        raw = cells.get((model, RAW, RAW, most))
        if raw is not None and raw.rate < 3 * max((bar.get_height() for bar in axis.patches), default=0.0):
            axis.axhline(raw.rate, color="black", linewidth=0.8, linestyle="--", label="the model alone")
        axis.set_xticks(range(len(WIRES)), [TITLES[wire] for wire in WIRES])
        axis.set(title=model, ylabel="requests/s")
    axes[0, 0].legend(fontsize="small", ncols=4)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
