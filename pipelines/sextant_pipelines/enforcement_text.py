"""A plan's criteria with their enforcements, as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sextant_plan.alerts import Alert
from sextant_plan.enforcements import Enforced
from sextant_plan.window import promql_duration

NOT_ASKED = "not asked"


def enforcement_text(criteria: Iterable[Enforced]) -> str:
    """Return a paragraph for each criterion; each of the four enforcements has a line, asked for or not."""
    return "\n".join("\n".join(_paragraph(each)) + "\n" for each in criteria)


def _paragraph(found: Enforced) -> Iterator[str]:
    yield f"{found.criterion.id}: {found.criterion.requirement}"
    yield f"  gate     {_gate(found)}"
    yield f"  canary   {_canary(found)}"
    yield f"  alert    {'; '.join(_alert(alert) for alert in found.alerts) or NOT_ASKED}"
    yield f"  retrain  {_retrain(found)}"
    if found.rule is not None:
        yield "  recorded for them"
        yield from (f"    {each.record} = {each.expression}" for each in found.rule.recordings())


def _gate(found: Enforced) -> str:
    gate = found.gate
    if gate is None:
        return NOT_ASKED
    what = "requests" if found.criterion.definition.by_request else "rows"
    return (
        f"{gate['step']}: {gate['side']} bound ({gate['bound']}) at confidence {gate['confidence']:g} "
        f"against {gate['limit']:g}, from {gate['min_n']} {what} on; "
        f"over all looks a false pass has a chance of {gate['false_pass_at_most']:g} at most"
    )


def _canary(found: Enforced) -> str:
    canary = found.canary
    if canary is None:
        return NOT_ASKED
    return (
        f"{canary.test}: {canary.requirement}; harm at alpha {canary.alpha_fail:g}, pass at {canary.alpha_pass:g} "
        f"from {canary.min_n} on; reads {', '.join(canary.series)}{f' by {canary.by}' if canary.by else ''}"
    )


def _alert(alert: Alert) -> str:
    return f"{alert.kind.alert} ({alert.severity}, for {promql_duration(alert.hold)}): {alert.expression}"


def _retrain(found: Enforced) -> str:
    if found.retrain is None:
        return NOT_ASKED
    count, of_last = found.policy.n_of_last
    every = promql_duration(found.policy.cooldown)
    return f"{count} of the last {of_last} windows, at most once in {every}: {found.retrain.expression}"
