"""The fault catalogue from which the lab started has 54 numbers, and each is struck twice: in the model and live.

In the model, in a scenario of scenarios/faults, by a test of this folder that bears its number. Live, on real servers
and processes, by tests of `live/` that bear it and by those named below. Where one of the two has nothing to show, the
reason stands below.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab import Scenario
from tests.faults.scenes import FOLDER

HERE = Path(__file__).parent
LIVE = HERE / "live"
TESTS = HERE.parent
NUMBERS = range(1, 55)
LIVE_MIN = 35
"""So many numbers at least are struck live."""

NOT_IN_THE_MODEL = {
    4: "the model's commit, the queue's entry and the event are one moment: there is nothing between them to die in",
    13: "a modelled task has no payload that could be undecodable",
    21: "no connections: a reply cannot be lost in mid-command (live: tests/live/test_faults.py, F27)",
    22: "the modelled Redis has no memory of its own that could be full",
    23: "no scripts",
    26: "a PostgreSQL that only reads looks to the model like one that is away (F25); the error's class is live only",
    27: "commits are atomic in the model; an ambiguous one exists live only",
    28: "transactions do not conflict in the model",
    29: "no pools; a database that saturates is in tests/simulation/test_machinery.py",
    30: "no disks, no statement timeouts",
    31: "a modelled worker is told of every push; a lost wake-up call is live only",
    32: "no rows that bloat",
    33: "one clock; a worker's own is never asked, in neither engine",
    44: "no workflows yet",
    45: "no workflows yet",
    46: "no workflows yet",
    47: "no workflows yet",
    48: "no workflows yet",
    49: "no workflows yet",
    50: "no artifacts and no memoised nodes yet",
    51: "no rate limits yet",
    52: "no clients of a stream of events",
    54: "one version of everything",
}


NOT_LIVE = {
    **dict.fromkeys(range(44, 50), "no workflows yet"),
    50: "no artifacts and no memoised nodes yet",
    51: "no rate limits yet; admission by depth is F41",
}

ELSEWHERE = {
    1: [
        "live/test_faults.py::test_f1_workers_killed_from_outside_in_mid_run",
        "live/test_hosts.py::test_a_host_killed_in_mid_run_loses_nothing",
    ],
    5: [
        "live/test_faults.py::test_f5_sigterm_hands_back_uncounted_what_the_grace_does_not_allow",
        "live/test_hosts.py::test_a_host_told_to_leave_in_mid_run",
    ],
    6: ["live/test_hosts.py::test_the_second_signal_ends_a_host_at_once"],
    7: [
        "live/test_faults.py::test_f7_a_frozen_worker_wakes_up_and_its_writes_are_refused",
        "live/test_faults.py::test_f7_a_slot_that_was_frozen_asleep_finds_its_task_gone",
    ],
    10: ["live/test_hosts.py::test_the_workers_of_a_dead_engine_end"],
    12: [
        "live/test_faults.py::test_f12_a_task_that_outlives_its_workers_is_dead_after_its_attempts",
        "live/test_faults_of_work.py::test_f12_a_poison_task_kills_three_workers_and_ends_among_the_dead_letters",
    ],
    13: [
        "live/test_handlers.py::test_f13_a_payload_that_cannot_be_decoded_is_permanent",
        "live/test_handlers.py::test_f13_a_role_that_nobody_knows_is_permanent",
    ],
    14: [
        "live/test_clients_and_budgets.py::test_attempts_are_cut_and_failures_stay_as_the_plan_says",
        "live/test_handlers.py::test_an_attempt_that_works_too_long_is_cut",
    ],
    15: [
        "live/test_runs.py::test_failures_end_every_task_as_the_model_says",
        "live/test_faults_of_work.py::test_a_role_that_is_out_fails_what_starts_meanwhile_and_nothing_else",
    ],
    16: ["live/test_clients_and_budgets.py::test_attempts_are_cut_and_failures_stay_as_the_plan_says"],
    18: [
        "live/test_faults.py::test_f18_redis_restarts_empty",
        "live/test_faults_of_work.py::test_f18_redis_comes_back_with_what_it_keeps",
    ],
    19: [
        "live/test_faults.py::test_f19_redis_wiped_from_outside_in_mid_run",
        "live/test_faults.py::test_f19_wipes_during_arrivals_and_retries",
        "live/test_hosts.py::test_redis_wiped_in_mid_run_costs_no_worker",
    ],
    25: ["live/test_faults.py::test_f25_postgres_restarts_under_load"],
    27: [
        "live/test_faults.py::test_f27_connections_cut_in_mid_statement",
        "live/test_redrive.py::test_a_redrive_whose_answer_was_lost_is_known_and_not_written_twice",
    ],
    34: ["live/test_faults_of_work.py::test_f34_f35_what_is_said_twice_changes_nothing"],
    35: ["live/test_faults_of_work.py::test_f34_f35_what_is_said_twice_changes_nothing"],
    36: ["live/test_faults_of_work.py::test_a_verdict_that_comes_after_its_lease_is_refused"],
    37: ["live/test_faults_of_work.py::test_f37_a_worker_that_is_cut_off_claims_nothing_and_comes_back"],
    38: ["live/test_faults_of_work.py::test_f38_a_slow_worker_slows_only_what_it_does_itself"],
    39: ["live/test_faults.py::test_a_worker_over_its_limit_is_replaced_and_a_mesh_that_cannot_drain_says_so"],
    41: ["live/test_runs.py::test_held_and_rejected_tasks"],
    42: ["live/test_runs.py::test_other_orders_serve_every_class"],
    54: ["live/test_hosts.py::test_what_is_no_invitation_is_dropped_and_so_is_one_that_nobody_wants_any_more"],
}
"""Live tests of other folders, by number: folder/file::test."""


def named(folder: Path) -> dict[int, list[str]]:
    """The tests of a folder that bear numbers in their names, by number: test_f09_f37_… bears two."""
    found: dict[int, list[str]] = {}
    for path in sorted(folder.glob("test_*.py")):
        for test, numbers in re.findall(r"^def (test((?:_f\d\d)+)_\w+)", path.read_text("utf-8"), re.M):
            for number in re.findall(r"\d\d", numbers):
                found.setdefault(int(number), []).append(f"{path.relative_to(TESTS).as_posix()}::{test}")
    return found


def covered() -> set[int]:
    """The numbers that are struck in the model."""
    return set(named(HERE))


def struck_live() -> dict[int, list[str]]:
    """The live tests of each number that has any."""
    here = named(LIVE)
    return {number: [*ELSEWHERE.get(number, []), *here.get(number, [])] for number in {*ELSEWHERE, *here}}


def test_every_number_is_tested_or_explained_and_never_both() -> None:
    assert sorted(covered() | NOT_IN_THE_MODEL.keys()) == list(NUMBERS)
    assert not covered() & NOT_IN_THE_MODEL.keys()


def test_every_number_is_struck_live_or_explained_and_never_both() -> None:
    live = struck_live()
    assert sorted(live.keys() | NOT_LIVE.keys()) == list(NUMBERS)
    assert not live.keys() & NOT_LIVE.keys()
    assert len(live) >= LIVE_MIN


@pytest.mark.parametrize("test", sorted({test for tests in struck_live().values() for test in tests}))
def test_every_live_test_that_is_named_is_there_and_is_live(test: str) -> None:
    file, _, name = test.partition("::")
    text = (TESTS / file).read_text("utf-8")
    assert re.search(rf"^def {name}\(", text, re.M)
    assert "pytest.mark.live" in text or file == "live/test_handlers.py"  # handlers need no servers


def test_the_table_in_the_documentation_has_a_row_for_every_number() -> None:
    text = (TESTS.parent / "docs/FAULTS.md").read_text("utf-8").partition("## The catalogue")[2]
    rows = re.findall(r"^\| F(\d+) \|[^|]+\|[^|]+\|([^|]+)\|$", text, re.M)
    assert [int(number) for number, _ in rows] == list(NUMBERS)
    for number, where in rows:
        files = {test.split("::")[0].rpartition("/")[2] for test in struck_live().get(int(number), [])}
        assert {f"{name}.py" for name in re.findall(r"`(test_\w+)`", where)} == files, f"F{number}"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_scenario_states_its_claim_bears_its_name_and_is_run_by_a_test(path: Path) -> None:
    assert path.read_text("utf-8").startswith("# ")
    assert Scenario.load(path).name == path.stem.replace("_", "-")
    assert int(path.stem[1:3]) in covered()
    tests = "".join(one.read_text("utf-8") for one in HERE.glob("test_*.py"))
    assert f'run("{path.stem}"' in tests
