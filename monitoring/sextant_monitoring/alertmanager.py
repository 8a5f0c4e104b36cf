"""Alertmanager's configuration from the plan: who hears of which alert, how soon, and how often again.

Alerts of several plans go through one Alertmanager; the routes match the plan's name, so that files of several plans
can be merged under one root.
"""

from __future__ import annotations

from typing import Any

import yaml

from sextant_plan.alerts import AlertKind, Severity
from sextant_plan.loading import plan_hash
from sextant_plan.schema import Mail, Notify, Plan

SUBJECT = "[{{ .Status }}] {{ or .CommonAnnotations.summary .GroupLabels.alertname }}"
TEXT = (
    "{{ range .Alerts }}{{ .Labels.severity }}: {{ .Annotations.summary }}\n{{ .Annotations.description }}\n"
    "Runbook: {{ .Annotations.runbook_url }}\n\n{{ end }}"
)
REPEAT = {Severity.CRITICAL: "1h", Severity.WARNING: "1d", Severity.INFO: "6h"}
WAIT = {Severity.CRITICAL: "10s", Severity.WARNING: "1m", Severity.INFO: "1s"}
NOBODY = "nobody"


def render_alertmanager(plan: Plan) -> str:
    """Return the configuration of a plan (YAML); equal plans give equal text."""
    header = f"# Generated from the plan {plan.name}, {plan_hash(plan)}; change the plan, not this file.\n"
    return header + yaml.safe_dump(alertmanager_config(plan), sort_keys=False, width=110, allow_unicode=True)


def alertmanager_config(plan: Plan) -> dict[str, Any]:
    """Return the configuration as plain values."""
    receivers = {f"{plan.name}-{severity}": _receiver(plan.monitoring.notify, severity) for severity in Severity}
    routes = [
        {
            "receiver": name,
            "matchers": [f'plan="{plan.name}"', f'severity="{severity}"'],
            "group_by": ["alertname", "criterion", "objective"],
            "group_wait": WAIT[severity],
            "group_interval": "1m",
            "repeat_interval": REPEAT[severity],
        }
        for name, severity in zip(receivers, Severity, strict=True)
    ]
    return {
        "route": {"receiver": NOBODY, "routes": routes},
        "inhibit_rules": _inhibitions(),
        "receivers": [{"name": NOBODY}, *({"name": name, **configs} for name, configs in receivers.items())],
    }


def _inhibitions() -> list[dict[str, Any]]:
    """Without a ready server the other alerts of its plan say nothing new; a page covers its own ticket."""
    gone, burning = AlertKind.NO_READY_SERVER.alert, AlertKind.BUDGET_BURNING.alert
    return [
        {
            "source_matchers": [f'alertname="{gone}"'],
            "target_matchers": [f'alertname!="{gone}"', 'severity!="info"'],
            "equal": ["plan"],
        },
        {
            "source_matchers": [f'alertname="{burning}"', 'severity="critical"'],
            "target_matchers": [f'alertname="{burning}"', 'severity="warning"'],
            "equal": ["plan", "objective", "version", "variant"],
        },
    ]


def _receiver(notify: Notify, severity: Severity) -> dict[str, Any]:
    if severity is Severity.INFO:
        return _trigger(notify)
    configs: dict[str, Any] = {}
    if notify.mail is not None:
        configs["email_configs"] = [_mail(notify.mail)]
    if notify.chat is not None and severity is Severity.CRITICAL:
        chat = {"api_url_file": notify.chat.url_file, "channel": notify.chat.channel}
        configs["slack_configs"] = [{**chat, "send_resolved": True, "title": SUBJECT, "text": TEXT}]
    return configs


def _mail(mail: Mail) -> dict[str, Any]:
    login = {}
    if mail.username is not None:
        login = {"auth_username": mail.username, "auth_password_file": mail.password_file}
    return {
        "to": ", ".join(mail.to),
        "from": mail.sender,
        "smarthost": mail.relay,
        "require_tls": mail.require_tls,
        **login,
        "send_resolved": True,
        "headers": {"Subject": SUBJECT},
        "html": "",
        "text": TEXT,
    }


def _trigger(notify: Notify) -> dict[str, Any]:
    if notify.trigger is None:
        return {}
    access = {}
    if notify.trigger.token_file is not None:
        authorization = {"type": "Bearer", "credentials_file": notify.trigger.token_file}
        access = {"http_config": {"authorization": authorization}}
    return {"webhook_configs": [{"url": notify.trigger.url, "send_resolved": False, **access}]}
