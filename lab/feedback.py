"""Queueing theory of retries: a failed task waits out its backoff and queues again, until it succeeds or is dead.

How many attempts tasks make needs no queueing theory: failures are drawn attempt by attempt, whatever the queue does.
How long they wait is exact for M/M/c served first come first served, whatever the backoff's distribution: the network
of a queue and a delay has product form. `queueing.py` explains the conventions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lab.queueing import MMc


@dataclass(frozen=True)
class Attempts:
    """What becomes of the tasks, attempt by attempt. `fails[k − 1]` is the chance that attempt k fails, for as many
    attempts as are allowed; `permanent_share` of the failures cannot be mended.
    """

    fails: tuple[float, ...]
    permanent_share: float = 0.0

    @cached_property
    def reached(self) -> tuple[float, ...]:
        """The share of tasks that make attempt k."""
        shares = [1.0]
        for chance in self.fails[:-1]:
            shares.append(shares[-1] * chance * (1.0 - self.permanent_share))
        return tuple(shares)

    @cached_property
    def completed(self) -> tuple[float, ...]:
        """The share of tasks that succeed at attempt k."""
        return tuple(share * (1.0 - chance) for share, chance in zip(self.reached, self.fails, strict=True))

    def or_late(self, share: float) -> Attempts:
        """The same where this share of the attempts fails for being late whatever else, which a retry may mend. Where
        failures that cannot be mended have another share at some attempts, that of the last attempt is taken.
        """
        fails = tuple(share + (1.0 - share) * chance for chance in self.fails)
        of_own = (1.0 - share) * self.fails[-1] / fails[-1] if fails[-1] else 0.0
        return Attempts(fails, self.permanent_share * of_own)

    def granted(self, share: float) -> Attempts:
        """The same where only this share of the failures that could be mended is retried."""
        return Attempts(self.fails, 1.0 - (1.0 - self.permanent_share) * share)

    @property
    def mean(self) -> float:
        """Mean attempts of a task: (1 − p^A) / (1 − p) where each of A attempts fails with chance p."""
        return sum(self.reached)

    @property
    def dead_share(self) -> float:
        """The share of tasks that never succeed: p^A where each of A attempts fails with chance p."""
        return 1.0 - sum(self.completed)

    @property
    def repeats(self) -> bool:
        """Whether any task is tried again."""
        return len(self.reached) > 1 and self.reached[1] > 0.0

    def latency_s(self, stay_s: float, backoff_s: Sequence[float]) -> float:
        """Mean seconds from arrival to the last verdict, of all tasks, dead ones included.

        E[T] = E[attempts]·stay + Σ P(attempt k + 1 is made)·b_k; `stay_s` is the mean wait and service of one attempt,
        `backoff_s[k − 1]` = b_k the mean backoff after failure k.
        """
        again = zip(self.reached[1:], backoff_s, strict=False)
        return self.mean * stay_s + sum(share * wait_s for share, wait_s in again)

    def completed_latency_s(self, stay_s: float, backoff_s: Sequence[float]) -> float:
        """The same of the completed tasks alone: E[T | completed] = Σ P(done at k)·(k·stay + b_1 + … + b_{k−1}) / Σ
        P(done at k). Whether an attempt fails does not depend on how long it waited or worked.
        """
        total_s, waited_s = 0.0, 0.0
        for attempt, share in enumerate(self.completed, start=1):
            total_s += share * (attempt * stay_s + waited_s)
            waited_s += backoff_s[attempt - 1] if attempt <= len(backoff_s) else 0.0
        return total_s / sum(self.completed)


def retried_mmc(arrival_per_s: float, service_s: float, servers: int, attempts_mean: float) -> MMc:
    """The M/M/c that each attempt meets: λ_eff = λ·E[attempts]. Exact for exponential service, first come first served.

    The network of the queue and the backoff (a server for everybody, any distribution) is of product form, and an
    arriving attempt of any number sees it in its steady state. (Baskett, Chandy, Muntz and Palacios, J. ACM 22, 1975;
    arrivals: Sevcik and Mitrani, J. ACM 28, 1981.) Raises ValueError where λ_eff·E[S] ≥ c.
    """
    return MMc(arrival_per_s * attempts_mean, service_s, servers)
