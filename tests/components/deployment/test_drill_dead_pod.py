"""Who has to notice that a pod of a service is gone, and when the drill has seen enough."""

from __future__ import annotations

from sextant_components.deployment.drills.dead_pod import Outage


def test_an_alert_that_held_is_what_noticed_the_only_pod() -> None:
    """The drill goes on until another is ready, however long the alert has held by then."""
    outage = Outage(alone=True, short_is_silent=True, alarmed=3.0, replaced=1.0)
    assert not outage.is_over()
    outage.recovered = 14.0
    assert outage.is_over()
    assert outage.noticed_by == (None, 3.0)


def test_an_outage_between_two_scrapes_is_noticed_by_the_cluster() -> None:
    """Not before Prometheus has found the next pod ready: until then its alert may still hold."""
    outage = Outage(alone=True, short_is_silent=True, replaced=0.4, recovered=1.5)
    assert not outage.is_over()
    outage.scraped = True
    assert outage.is_over()
    assert outage.noticed_by == ("the cluster, which starts another pod, between two scrapes", 0.4)


def test_an_alert_on_anything_but_readiness_has_to_hold() -> None:
    """One that the plan names for the failure mode, such as a latency's, is not excused by a short outage."""
    outage = Outage(alone=True, short_is_silent=False, replaced=0.4, recovered=1.5, scraped=True)
    assert not outage.is_over()
    assert outage.noticed_by == (None, None)


def test_one_of_several_pods_is_for_the_cluster_to_miss() -> None:
    """No alert is due while another pod answers."""
    outage = Outage(alone=False, short_is_silent=True, replaced=0.4)
    assert not outage.is_over()
    outage.recovered = 14.0
    assert outage.is_over()
    assert outage.noticed_by == ("the cluster, which starts another pod", 0.4)
