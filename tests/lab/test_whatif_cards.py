"""What-if cards: what each does to a scenario, when it cannot, and how they add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.errors import UsageError
from lab.scenario import Scenario
from lab.whatif import CARDS, Asked, DoesNotApply, Question, question
from lab.whatif_effects import middle_s
from lab.whatif_page import diff_lines

BURST = {"kind": "burst", "count": 40}
DONE_AT_ONCE = {"A": {"service": {"dist": "constant", "mean_s": 0.0}}}
SURE = {"A": {"service": {"dist": "constant", "mean_s": 1.0}}}
HOPELESS = {"A": {"service": {"dist": "constant", "mean_s": 1.0}, "failure_rate": 1.0}}
ONE = {"DEV": {"service": {"dist": "constant", "mean_s": 2.0}, "failure_rate": 0.1}}


def scenario(arrivals: dict[str, Any] = BURST, base: Path | None = None, **more: Any) -> Scenario:
    data = {"workload": {"arrivals": arrivals, "roles": more.pop("roles", ONE)}, "mesh": {"workers": 4, "slots": 5}}
    return Scenario.from_data({**data, **more}, base=base or Path())


def ask(of: Scenario, *cards: str) -> Question:
    return question(of, [Asked.parse(card) for card in cards])


@pytest.mark.parametrize(
    ("arrivals", "card", "changed"),
    [
        (BURST, "traffic", {"count": 80}),
        (BURST, "traffic:1.5", {"count": 60}),
        ({"kind": "constant", "rate_per_s": 3, "duration_s": 9}, "traffic", {"rate_per_s": 6, "duration_s": 9}),
        ({"kind": "poisson", "rate_per_s": 3, "count": 9}, "traffic:3", {"rate_per_s": 9, "count": 27}),
        (
            {"kind": "ramp", "from_per_s": 1, "to_per_s": 5, "duration_s": 9},
            "traffic",
            {"from_per_s": 2, "to_per_s": 10},
        ),
        (
            {"kind": "steps", "steps": [{"duration_s": 4, "rate_per_s": 2}, {"duration_s": 4, "rate_per_s": 0}]},
            "traffic",
            {"steps": [{"duration_s": 4, "rate_per_s": 4}, {"duration_s": 4, "rate_per_s": 0}]},
        ),
        (
            {"kind": "schedule", "until_s": 9, "entries": [{"at_s": 0, "rate_per_s": 2}, {"at_s": 3, "count": 7}]},
            "traffic",
            {"entries": [{"at_s": 0, "rate_per_s": 4}, {"at_s": 3, "count": 14}]},
        ),
    ],
)
def test_traffic(arrivals: dict[str, Any], card: str, changed: dict[str, Any]) -> None:
    after = ask(scenario(arrivals), card).after.workload.arrivals
    expected = scenario({**arrivals, **changed}).workload.arrivals
    assert after == expected


def test_a_trace_comes_faster_and_its_own_times_are_what_is_slowed(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("at,service_s\n0,1\n10,3\n")
    arrivals = {"kind": "trace", "path": "t.csv", "columns": {"arrival_s": "at"}, "service_factor": 0.5}
    of = scenario(arrivals, tmp_path)
    faster, slower = (ask(of, card).after.workload.arrivals for card in ("traffic:4", "provider-slow:3"))
    assert (faster.time_factor, faster.service_factor) == (0.25, 0.5)  # type: ignore[union-attr]
    assert (slower.time_factor, slower.service_factor) == (1.0, 1.5)  # type: ignore[union-attr]
    with pytest.raises(DoesNotApply, match="leave DEV out"):
        ask(of, "provider-slow:3,DEV")


@pytest.mark.parametrize(
    ("service", "card", "after"),
    [
        ({"dist": "constant", "mean_s": 2.0}, "provider-slow", {"dist": "constant", "mean_s": 4.0}),
        ({"dist": "gamma", "mean_s": 1.0, "cv": 3}, "provider-slow:1.5", {"dist": "gamma", "mean_s": 1.5, "cv": 3}),
    ],
)  # fmt: skip
def test_a_slow_provider(service: dict[str, Any], card: str, after: dict[str, Any]) -> None:
    roles = {"DEV": {"service": service}, "OPS": {"service": {"dist": "exponential", "mean_s": 1.0}}}
    of = scenario(roles=roles)
    assert ask(of, card).after.workload.roles["DEV"].service.model_dump() == {**after}
    only = ask(of, f"{card.partition(':')[0]}:2,OPS").after.workload.roles
    assert (only["DEV"].service, only["OPS"].service.mean_s) == (of.workload.roles["DEV"].service, 2.0)  # type: ignore[union-attr]


def test_a_slow_provider_where_a_preset_says_how_long_work_takes() -> None:
    of = scenario(roles={"DEV": None}, rules={"preset": "agent-mesh-published"})
    assert ask(of, "provider-slow").after.workload.roles["DEV"].service.mean_s == 4.0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("rates", "card", "after"),
    [
        ((0.1, 0.0), "failures", (0.5, 0.0)),
        ((0.1, 0.3), "failures", (0.5, 1.0)),  # 5 × 0.3 is more than all
        ((0.1, 0.3), "failures:2", (0.2, 0.6)),
        ((0.0, 0.0), "failures:10", (0.05, 0.05)),
        ((0.1, 0.0), "failures:20%", (0.2, 0.2)),
    ],
)
def test_failures(rates: tuple[float, ...], card: str, after: tuple[float, ...]) -> None:
    service = {"dist": "constant", "mean_s": 1.0}
    roles = {name: {"service": service, "failure_rate": rate} for name, rate in zip("AB", rates, strict=True)}
    found = ask(scenario(roles=roles), card).after.workload.roles
    assert tuple(found[name].failure_rate for name in "AB") == pytest.approx(after)


@pytest.mark.parametrize(
    ("workers", "card", "killed"),
    [
        (4, "lose-workers", [2, 3]),  # ⌈4 / 3⌉ = 2
        (3, "lose-workers", [2]),
        (4, "lose-workers:3", [1, 2, 3]),
        (4, "lose-workers:50%", [2, 3]),
        (8, "lose-workers:1/4", [6, 7]),
    ],
)
def test_workers_die_and_stay_away(workers: int, card: str, killed: list[int]) -> None:
    found = ask(scenario(mesh={"workers": workers, "slots": 5}), card)
    *deaths, gone = found.after.faults
    assert [(one.kind, one.worker) for one in deaths] == [("kill_worker", place) for place in killed]  # type: ignore[union-attr]
    assert (gone.kind, gone.value) == ("change", workers - len(killed))  # type: ignore[union-attr]
    assert found.window_s == (deaths[0].at_s, None)


@pytest.mark.parametrize(
    ("arrivals", "slots", "middle"),
    [
        (BURST, 20, 2.0),  # 40 tasks of 2 s on 20 slots take 4 s
        ({"kind": "constant", "rate_per_s": 1, "duration_s": 101}, 20, 50.0),  # from 0 to 100 s
        ({"kind": "constant", "rate_per_s": 10, "count": 41}, 4, 10.25),  # 4 s of arrivals, 82 s / 4 = 20.5 s of work
    ],
)
def test_half_time(arrivals: dict[str, Any], slots: int, middle: float) -> None:
    assert middle_s(scenario(arrivals, mesh={"workers": 1, "slots": slots})) == middle


def test_redis_goes_and_comes_back_and_what_was_wrong_before_stays() -> None:
    of = scenario(faults=[{"at_s": 1, "kind": "redis_flush"}])
    found = ask(of, "redis-away:12")
    assert [fault.kind for fault in found.after.faults] == ["redis_flush", "redis_restart"]
    assert (found.after.faults[1].down_s, found.window_s) == (12.0, (2.0, 14.0))  # type: ignore[union-attr]
    assert found.before is of


@pytest.mark.parametrize(
    ("card", "names", "waits", "jitters"),
    [
        ("policy", ("as-written", "jitter"), ("scheduled", "scheduled"), (0.0, 1.0)),
        ("policy:in-slot", ("as-written", "in-slot"), ("scheduled", "in_slot"), (0.0, 0.0)),
        ("policy:in-slot,jitter", ("in-slot", "jitter"), ("in_slot", "scheduled"), (0.0, 1.0)),
        ("policy:{jitter: 0.5, wait: in_slot}", ("as-written", "jitter 0.5, wait in_slot"), ("scheduled", "in_slot"),
         (0.0, 0.5)),
    ],
)  # fmt: skip
def test_policies(card: str, names: tuple[str, str], waits: tuple[str, str], jitters: tuple[float, float]) -> None:
    found = ask(scenario(), card)
    assert found.names == names
    assert tuple(side.rules.retry.wait for side in (found.before, found.after)) == waits
    assert tuple(side.rules.retry.jitter for side in (found.before, found.after)) == jitters


def test_cards_add_up_and_hold_on_both_sides_of_an_a_or_b() -> None:
    of = scenario()
    both = ask(of, "failures:2", "provider-slow")
    role = both.after.workload.roles["DEV"]
    assert (role.failure_rate, role.service.mean_s, both.before) == (0.2, 4.0, of)  # type: ignore[union-attr]
    versus = ask(of, "policy:in-slot,jitter", "failures:2")
    assert [side.workload.roles["DEV"].failure_rate for side in (versus.before, versus.after)] == [0.2, 0.2]
    assert [side.rules.retry.wait for side in (versus.before, versus.after)] == ["in_slot", "scheduled"]


@pytest.mark.parametrize(
    ("of", "card", "why"),
    [
        ({"mesh": {"workers": 1, "slots": 1}}, "lose-workers", "1 worker of 1 would die, and nobody would be left"),
        ({}, "lose-workers:4", "4 workers of 4 would die"),
        ({"roles": DONE_AT_ONCE}, "provider-slow", "every service time is 0"),
        ({"roles": SURE}, "policy", "combine it with the card failures"),
        ({"roles": HOPELESS}, "failures", "already"),
        ({}, "policy:as-written,scheduled", "the same rules"),
        ({}, "traffic:1e9", "less than or equal to 5000000"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused_with_the_reason(of: dict[str, Any], card: str, why: str) -> None:
    with pytest.raises(DoesNotApply, match=why):
        ask(scenario(**of), card)


@pytest.mark.parametrize(
    ("card", "why"),
    [
        ("hope", "there is no such card; choose from provider-slow"),
        ("failures:many", "'many' is not how many times as many"),
        ("failures:-1", "is not how many"),
        ("failures:nan", "is not how many"),
        ("failures:inf", "is not how many"),
        ("provider-slow:2,QA", "there is no role 'QA'; choose from DEV"),
        ("lose-workers:1.5", "is not a share of the workers"),
        ("lose-workers:1/0", "is not a share of the workers"),
        ("redis-away:0", "is not for how many seconds"),
        ("redis-away:5000", "less than or equal to 3600|at most 3,600"),
        ("policy:hope", "there is no policy 'hope'"),
        ("policy:{hope: 1}", "rules.retry has no 'hope'"),
        ("policy:a,b,c", "give one policy, or two"),
        ("policy:[", "write names or values"),
    ],
)
def test_what_is_no_card_is_refused(card: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        ask(scenario(), card)
    with pytest.raises(UsageError, match="give it once"):
        ask(scenario(), "policy", "policy:jitter")
    with pytest.raises(UsageError, match="no card"):
        ask(scenario())


def test_every_card_says_what_it_has_changed() -> None:
    for key in CARDS:
        found = ask(scenario(), key)
        assert found.title and all(effect.words.endswith(".") for effect in found.effects)
        assert found.differences and all(before != after for _, before, after in found.differences)
        assert any(line.startswith("+") for line in diff_lines(found.before, found.after))


def test_work_of_ones_own_cannot_be_slowed_live() -> None:
    roles = {"BOT": {"service": {"dist": "constant", "mean_s": 1.0}, "handler": {"http": "http://127.0.0.1:1/"}}}
    of = scenario(roles=roles)
    assert "BOT: real work of yours" in ask(of, "provider-slow").live_hindrance
    assert "BOT: real work of yours" in ask(of, "failures").live_hindrance
    assert ask(of, "traffic").live_hindrance == ""
