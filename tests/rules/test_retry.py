"""The retry rule: waits, their sum, the number of attempts, the cap, the jitter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.rules.retry import RetryRules, delay_s, is_spent

DEFAULT = RetryRules()


@pytest.mark.parametrize(
    ("failures", "wait_s"),
    [
        (1, 2.0),  # 1 · 2^1
        (2, 4.0),  # 1 · 2^2
        (3, 8.0),  # 1 · 2^3
        (4, 16.0),  # 1 · 2^4
        (5, 32.0),  # 1 · 2^5
    ],
)
def test_default_waits_double(failures: int, wait_s: float) -> None:
    assert delay_s(failures, DEFAULT) == wait_s


def test_all_default_waits_are_62_seconds() -> None:
    waits = [delay_s(k, DEFAULT) for k in range(1, DEFAULT.max_retries + 1)]
    assert sum(waits) == 62.0  # 2 + 4 + 8 + 16 + 32


@pytest.mark.parametrize(("attempts", "spent"), [(1, False), (5, False), (6, True), (7, True)])
def test_the_sixth_failure_is_permanent(attempts: int, spent: bool) -> None:
    assert is_spent(attempts, DEFAULT) is spent  # 5 retries, so 6 attempts


def test_without_retries_the_first_failure_is_permanent() -> None:
    assert is_spent(1, RetryRules(max_retries=0))


@pytest.mark.parametrize(
    ("rules", "failures", "roll", "wait_s"),
    [
        (RetryRules(base_s=0.1), 3, 0.0, 0.8),  # 0.1 · 2^3
        (RetryRules(base_s=0.0), 5, 0.0, 0.0),  # immediate retries
        (RetryRules(factor=1.0, base_s=3.0), 4, 0.0, 3.0),  # 3 · 1^4: a fixed wait
        (RetryRules(cap_s=10.0), 3, 0.0, 8.0),  # 8 is below the cap
        (RetryRules(cap_s=10.0), 4, 0.0, 10.0),  # 16 is above it
        (RetryRules(jitter=0.5), 1, 0.5, 2.5),  # 2 · (1 + 0.5 · 0.5)
        (RetryRules(jitter=0.5, cap_s=1.0), 1, 0.5, 1.25),  # capped to 1 first, then jitter adds
        (RetryRules(jitter=0.0), 1, 0.99, 2.0),  # jitter off: the roll says nothing
    ],
)
def test_base_factor_cap_and_jitter(rules: RetryRules, failures: int, roll: float, wait_s: float) -> None:
    assert delay_s(failures, rules, roll) == pytest.approx(wait_s, abs=1e-12)


@given(
    failures=st.integers(1, 99),
    roll=st.floats(0, 1, exclude_max=True),
    base_s=st.floats(0, 86_400),
    factor=st.floats(1, 100),
    cap_s=st.none() | st.floats(0, 86_400),
    jitter=st.floats(0, 10),
)
def test_jitter_only_adds_and_waits_never_shrink(
    failures: int, roll: float, base_s: float, factor: float, cap_s: float | None, jitter: float
) -> None:
    rules = RetryRules(base_s=base_s, factor=factor, cap_s=cap_s, jitter=jitter)
    floor_s = delay_s(failures, rules)
    assert floor_s <= delay_s(failures, rules, roll) <= floor_s * (1 + jitter) * (1 + 1e-12)
    assert floor_s <= delay_s(failures + 1, rules) * (1 + 1e-12)
