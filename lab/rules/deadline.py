"""How long a client waits for its task to be started, and what becomes of the task when the client has left.

Work for clients that have left is what keeps an overload alive after its cause is gone (a metastable failure): the
queue is longer than anybody's patience, so all that is served comes too late, is asked for again, and the queue stays
as long as it is. Throwing such tasks out of the queue is the cure; `late: fail` is the habit that needs it.
(Bronson, Aghayev, Charapko and Zhu, "Metastable failures in distributed systems", HotOS 2021.)
"""

from __future__ import annotations

import math
from typing import Literal

from lab.limits import SERVICE_S_MAX
from lab.rules.base import Rules, rule


class DeadlineRules(Rules):
    """How patient clients are, and who hears of it when they leave."""

    wait_s: float | None = rule(
        None,
        "Off by default: the published systems keep every task until somebody has served it, however late.",
        unit="s",
        formula="the client has left when its task has been PENDING for its patience; every try waits anew",
        gt=0,
        le=SERVICE_S_MAX,
    )
    spread: Literal["fixed", "exponential"] = rule(
        "fixed",
        "fixed: a client's timeout, the same for all. exponential: people, who give up one by one, as in Erlang-A.",
        formula="patience = wait_s, or −wait_s · ln(roll), roll uniform in (0, 1)",
    )
    late: Literal["cancel", "fail"] = rule(
        "cancel",
        "cancel: the task leaves the queue with its client. fail: nobody tells the worker, as in many queues; it does "
        "the work for nobody, and the client, who counts that as a failure, asks again.",
    )

    @property
    def cancels(self) -> bool:
        """True when a task whose client has left is thrown out of its queue."""
        return self.wait_s is not None and self.late == "cancel"

    @property
    def wastes(self) -> bool:
        """True when a task whose client has left is worked on all the same, and counts as failed."""
        return self.wait_s is not None and self.late == "fail"


def patience_s(rules: DeadlineRules, roll: float) -> float:
    """Seconds that a client waits for a try of its task to start; infinite without a deadline.

    `roll` in (0, 1) is the draw for the spread: the inverse of the exponential distribution with mean `wait_s`.
    """
    if rules.wait_s is None:
        return math.inf
    return rules.wait_s if rules.spread == "fixed" else -rules.wait_s * math.log(roll)


def has_left(waited_s: float, patience_s: float) -> bool:
    """True when the client of a task that has been PENDING for `waited_s` is gone: at its patience, not after it."""
    return waited_s >= patience_s
