"""What becomes of an attempt that a handler works on."""

from __future__ import annotations

import pytest

from lab.rules.explain import markdown
from lab.rules.handling import ANSWERS, Answer, Ending, of_status

TABLE = {
    Answer.SUCCEEDED: [200, 201, 202, 204, 299],
    Answer.FAILED: [408, 425, 429, 500, 502, 503, 504, 599],
    Answer.PERMANENT: [300, 301, 307, 308, 400, 401, 403, 404, 407, 409, 410, 422, 424, 426, 428, 430, 499],
}


@pytest.mark.parametrize(("answer", "status"), [(answer, each) for answer, all_ in TABLE.items() for each in all_])
def test_a_status_says_whether_a_retry_may_help(answer: Answer, status: int) -> None:
    assert of_status(status) is answer


@pytest.mark.parametrize("status", [0, 100, 199, 600, 999])
def test_a_status_that_means_nothing_is_the_servers_trouble(status: int) -> None:
    assert of_status(status) is Answer.FAILED


def test_every_ending_has_an_answer_and_only_a_result_is_success() -> None:
    assert set(ANSWERS) == set(Ending)
    assert [ending for ending, answer in ANSWERS.items() if answer is Answer.SUCCEEDED] == [Ending.RETURNED]


def test_people_are_told_every_ending() -> None:
    told = markdown()
    assert [ending for ending in Ending if f"| {ending} | {ANSWERS[ending]} |" not in told] == []
