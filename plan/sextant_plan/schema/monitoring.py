"""What is watched, who is told, and when it is learned anew."""

from __future__ import annotations

from pydantic import Field, model_validator

from sextant_plan.schema.closed import Closed
from sextant_plan.types import DAY, Duration, Share


class Labels(Closed):
    """When labels come back, and of how large a share of predictions for quality to be judged by them."""

    delay: Duration = DAY
    join_at_least: Share = 0.5


class Retrain(Closed):
    """Retrain when n of the last m windows violate and the latest does; never twice within the cooldown.

    After `change_architecture_after` retrainings in a row that did not pass, `model.wider_candidates` compete as well,
    in a whole life cycle; after `reopen_planning_after` the plan itself is in question.
    """

    n_of_last: tuple[int, int] = (3, 5)
    cooldown: Duration = DAY
    change_architecture_after: int | None = Field(default=None, ge=1)
    reopen_planning_after: int = Field(default=3, ge=1)


class Burn(Closed):
    """Alert when the budget is spent `rate` times too fast over a long and a short window; a page wakes a person."""

    rate: float = Field(gt=0)
    long: Duration
    short: Duration
    pages: bool = False

    @model_validator(mode="after")
    def _short_is_shorter(self) -> Burn:
        if self.short >= self.long:
            raise ValueError("the short window has to be shorter than the long one")
        return self


# The pairs of The Site Reliability Workbook (Beyer et al. 2018, table 5-8), for a period of 30 days.
DEFAULT_BURNS = [
    Burn(rate=14.4, long=3600.0, short=300.0, pages=True),
    Burn(rate=6.0, long=6 * 3600.0, short=1800.0, pages=True),
    Burn(rate=3.0, long=DAY, short=7200.0),
    Burn(rate=1.0, long=3 * DAY, short=6 * 3600.0),
]


class Objectives(Closed):
    """What the service promises over `period`: shares of requests answered, and within serving.latency_slo_ms."""

    answered: float = Field(default=0.999, gt=0, lt=1)
    in_time: float = Field(default=0.99, gt=0, lt=1)
    period: Duration = 30 * DAY
    burns: list[Burn] = Field(default=DEFAULT_BURNS, min_length=1)


class Mail(Closed):
    """Mail by a relay, `host:port`; a password lies in a file that is mounted where Alertmanager runs."""

    to: list[str] = Field(min_length=1)
    sender: str
    relay: str = Field(pattern=r"^[^:\s]+:\d+$")
    username: str | None = None
    password_file: str | None = None
    require_tls: bool = True

    @model_validator(mode="after")
    def _login_is_whole(self) -> Mail:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file belong together")
        return self


class Chat(Closed):
    """A chat that takes Slack's incoming webhooks; the address is a secret and lies in a mounted file."""

    url_file: str
    channel: str


class TriggerHook(Closed):
    """The service that starts retrainings; its bearer token lies in a mounted file."""

    url: str = Field(pattern=r"^https?://\S+$")
    token_file: str | None = None


class Notify(Closed):
    """Whom alerts reach: `critical` mail and chat at once, `warning` mail once a day, `info` the trigger.

    `runbooks` is the address at which the pages of docs/runbooks can be read; alerts and boards link there.
    """

    runbooks: str = "docs/runbooks"
    mail: Mail | None = None
    chat: Chat | None = None
    trigger: TriggerHook | None = None

    def runbook(self, page: str) -> str:
        """Return the address of a runbook's page."""
        return f"{self.runbooks.rstrip('/')}/{page}.md"


class Monitoring(Closed):
    """What is watched over each `window`, judged from `min_rows` rows on.

    Where 500 rows are asked for, training rows are kept in 25 bins instead of 10, which shows shifts half as large.
    """

    window: Duration = 3600.0
    min_rows: int = Field(default=200, ge=1)
    objectives: Objectives = Objectives()
    labels: Labels = Labels()
    retrain: Retrain = Retrain()
    notify: Notify = Notify()
