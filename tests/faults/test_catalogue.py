"""The fault catalogue from which the lab started has 54 numbers. Each is tested in this folder under its number, in a
scenario of scenarios/faults, or stands below with the reason why the model has nothing to show of it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab import Scenario
from tests.faults.scenes import FOLDER

HERE = Path(__file__).parent
NUMBERS = range(1, 55)

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


def covered() -> set[int]:
    """The numbers that the tests of this folder bear in their names: test_f09_f37_… bears two."""
    names = re.findall(
        r"^def test((?:_f\d\d)+)_", "\n".join(path.read_text("utf-8") for path in HERE.glob("*.py")), re.M
    )
    return {int(number) for name in names for number in re.findall(r"\d\d", name)}


def test_every_number_is_tested_or_explained_and_never_both() -> None:
    assert sorted(covered() | NOT_IN_THE_MODEL.keys()) == list(NUMBERS)
    assert not covered() & NOT_IN_THE_MODEL.keys()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_scenario_states_its_claim_bears_its_name_and_is_run_by_a_test(path: Path) -> None:
    assert path.read_text("utf-8").startswith("# ")
    assert Scenario.load(path).name == path.stem.replace("_", "-")
    assert int(path.stem[1:3]) in covered()
    tests = "".join(one.read_text("utf-8") for one in HERE.glob("test_*.py"))
    assert f'run("{path.stem}"' in tests
