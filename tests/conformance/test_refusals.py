"""Every event to a task in every state, in time and too early, with the present claim and an old one: the live store
accepts what the rulebook accepts, and what it refuses leaves no trace. (The model asks the rulebook itself: its store
has no words of its own.)"""

from __future__ import annotations

import pytest

from lab.rules.tasks import Event, State
from live_backend.servers import Servers
from tests.conformance.desk import TRIES, deviations, receipts_of_a_repeated_key

pytestmark = pytest.mark.live


def test_the_store_accepts_and_refuses_as_the_rulebook_does(servers: Servers, schema: str) -> None:
    assert not (found := deviations(servers, schema, TRIES)), "\n".join(found)


def test_every_state_meets_every_event() -> None:
    assert {(one.state, one.event) for one in TRIES} == {(state, event) for state in (None, *State) for event in Event}


def test_a_key_stands_for_one_task(servers: Servers, schema: str) -> None:
    first, again, other = receipts_of_a_repeated_key(servers, schema)
    assert (first.status, again.status, other.status) == ("created", "existing", "conflict")
    assert first.id == again.id == other.id
