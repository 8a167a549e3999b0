"""What an answer says, in sentences, and in a word for a badge. Every number in them is a figure of the answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from lab import units
from lab.whatif import DRAIN, FIGURES, REFUSED, UNFINISHED, Answer, Moved

P99: Final = "latency_s.p99"
DEAD: Final = "tasks.dead"
CLOSED: Final = "backpressure.closed_s"
RETRIES: Final = "tasks.retries"
HEADLINES: Final = (P99, "throughput_per_s", DRAIN.path, DEAD)
"""What people ask for first."""
WORST: Final = {UNFINISHED.path: "Tasks are lost", DEAD: "Tasks die", REFUSED.path: "Tasks are refused"}
"""What is worse than any wait, the worst first."""
HARDLY: Final = 0.02
"""A change of less than this share is called none: the machinery's own noise is of that size."""
MUCH: Final = 1.5
"""A latency that is this many times as long is another experience for whoever waits."""
RATIO_TOLD_MAX: Final = 50.0
"""Against next to nothing a ratio may be anything: the difference says more."""
SECONDS_TOLD_MIN: Final = 0.5
"""Of a drain, less is no news."""

Mood = Literal["good", "none", "warn", "bad"]


class Grade(NamedTuple):
    """An answer in a word or two, and whether that is good news."""

    word: str
    mood: Mood


def grade(answer: Answer) -> Grade:
    """Tasks lost before tasks dead before slow: the worst that happens is the word."""
    figures = answer.figures
    for path, word in WORST.items():
        if _rises(figures[path]):
            return Grade(word, "bad")
    p99 = figures.get(P99)
    if p99 is None or p99.after is None:
        return Grade("Nothing is done", "bad")
    if is_still(p99):
        return Grade("Holds" if _is_small(p99) else "Unclear", "none")
    assert p99.ratio is not None
    if p99.ratio > 1:
        return Grade("Much slower", "warn") if p99.ratio >= MUCH else Grade("Slower", "warn")
    return Grade("Better", "good")


def badge(answer: Answer) -> str:
    """The word with the number that says how much."""
    word = grade(answer).word
    for path, worst in WORST.items():
        if word == worst:
            return f"{word}: {units.count(answer.figures[path].after)}"
    p99 = answer.figures.get(P99)
    return word if p99 is None or is_still(p99) else f"{word} · p99 {change(P99, p99).partition(' (')[0]}"


def verdict(answer: Answer) -> list[str]:
    """Sentences, the most telling first: tasks that are lost or dead, then how long the others take, then the rest."""
    told = [*_lost(answer), *_deaths(answer), *_refusals(answer), *_latency(answer)]
    if not _rises(answer.figures[UNFINISHED.path]):  # else the queue is short because its tasks are gone
        told += [*_recovery(answer), *_drain(answer)]
    told += [*_admission(answer), *_retries(answer)]
    return [f"{sentence[:1].upper()}{sentence[1:]}." for sentence in told]


def headline_cards(answer: Answer) -> list[tuple[str, str, str]]:
    """(name, value after, what it was before and how far it has moved) of the figures that people ask for first."""
    first = "before" if not _is_versus(answer) else answer.question.names[0]
    found = []
    for path in HEADLINES:
        one = answer.figures.get(path)
        if one is not None:
            moved = "the same" if is_still(one) and one.difference is not None else change(path, one)
            found.append(
                (FIGURES[path].label, written(path, one.after), f"{first} {written(path, one.before)} · {moved}")
            )
    return found


# ---- the sentences ---------------------------------------------------------------------------------------------------


def _lost(answer: Answer) -> Iterator[str]:
    lost = answer.figures[UNFINISHED.path]
    if lost.after and lost.after > (lost.before or 0.0):
        yield (
            f"{units.count(lost.after)} tasks never end: they are lost for good"
            + (f" ({_first(answer)} {units.count(lost.before)})" if lost.before else "")
        )


def _deaths(answer: Answer) -> Iterator[str]:
    dead = answer.figures[DEAD]
    if is_still(dead):
        return
    after = dead.after or 0.0
    share = f" ({_share(after / answer.tasks)})" if after else ""
    before = units.count(dead.before) if dead.before else "none"
    yield f"of {units.count(answer.tasks)} tasks {units.count(after)} die{share}, {_first(answer)} {before}"


def _refusals(answer: Answer) -> Iterator[str]:
    refused = answer.figures[REFUSED.path]
    if not is_still(refused):
        before = units.count(refused.before) if refused.before else "none"
        share = _share((refused.after or 0.0) / answer.tasks)
        yield f"{units.count(refused.after)} tasks ({share}) are refused at the door, {_first(answer)} {before}"


def _latency(answer: Answer) -> Iterator[str]:
    p99 = answer.figures.get(P99)
    if p99 is None or p99.after is None:
        yield "nothing is completed any more"
        return
    if p99.before is None:
        yield f"latency p99 is {units.seconds(p99.after)}; {_first(answer)} nothing is completed"
        return
    before, after, times = units.seconds(p99.before), units.seconds(p99.after), by_how_much(p99)
    if _is_small(p99):
        yield f"latency p99 {'is the same' if _is_versus(answer) else 'stays'} at {after}"
    elif is_still(p99):
        yield f"latency p99 is {before} {_first(answer)} and {after} {_then(answer)}{times}, which chance alone may do"
    elif _is_versus(answer):
        yield f"latency p99 is {before} {_first(answer)} and {after} {_then(answer)}{times}"
    else:
        yield f"latency p99 {'rises' if p99.after > p99.before else 'falls'} from {before} to {after}{times}"


def _recovery(answer: Answer) -> Iterator[str]:
    """How long the queue needs after what was amiss is over."""
    spans = answer.caught_up_s
    if not spans:
        return
    low, high = min(spans), max(spans)
    middle = sum(spans) / len(spans)
    if high < SECONDS_TOLD_MIN:
        yield f"as soon as {answer.question.over}, the queue is what it would have been"
        return
    span = f" ({units.interval(units.seconds(low), units.seconds(high))})" if high - low >= SECONDS_TOLD_MIN else ""
    yield f"{answer.question.over}, and {units.seconds(middle)}{span} later the queue is what it would have been"


def _drain(answer: Answer) -> Iterator[str]:
    drain = answer.figures.get(DRAIN.path)
    if drain is None or drain.difference is None or is_still(drain) or abs(drain.difference) < SECONDS_TOLD_MIN:
        return
    assert drain.before is not None and drain.after is not None
    word = "longer" if drain.difference > 0 else "less"
    yield (
        f"after the last arrival it takes {units.seconds(drain.after)} until all is done, "
        f"{units.seconds(abs(drain.difference))} {word}"
    )


def _admission(answer: Answer) -> Iterator[str]:
    closed = answer.figures[CLOSED]
    if not is_still(closed):
        before = units.seconds(closed.before) if closed.before else "never"
        yield f"backpressure closes admission for {units.seconds(closed.after)}, {_first(answer)} {before}"


def _retries(answer: Answer) -> Iterator[str]:
    retries = answer.figures[RETRIES]
    if not is_still(retries):
        yield f"{units.count(retries.after)} retries, {_first(answer)} {units.count(retries.before)}"


def _is_versus(answer: Answer) -> bool:
    return answer.question.names != ("Before", "After")


def _first(answer: Answer) -> str:
    """The side that the answer is held against."""
    return f"with {answer.question.names[0]}" if _is_versus(answer) else "before"


def _then(answer: Answer) -> str:
    return f"with {answer.question.names[1]}" if _is_versus(answer) else "after"


# ---- how much a figure has moved -------------------------------------------------------------------------------------


def is_still(figure: Moved) -> bool:
    """Whether it has moved by less than is worth a word, or by less than chance explains."""
    if figure.difference is None:
        return figure.before == figure.after
    low, high = figure.ci95 or (figure.difference, figure.difference)
    return low <= 0 <= high or _is_small(figure)


def _is_small(figure: Moved) -> bool:
    """Whether it is the same to within HARDLY, surely."""
    if figure.difference == 0 and figure.ci95 in (None, (0.0, 0.0)):
        return True
    return figure.ratio is not None and all(
        abs(ratio - 1) < HARDLY for ratio in (figure.ratio, *(figure.ratio_ci95 or ()))
    )


def _rises(figure: Moved) -> bool:
    return not is_still(figure) and (figure.after or 0.0) > (figure.before or 0.0)


def by_how_much(figure: Moved) -> str:
    """` (×4.7, 4.5 to 4.9)`; nothing where there is no ratio."""
    if figure.ratio is None:
        return ""
    told = f"×{factor(figure.ratio)}"
    bounds = [factor(bound) for bound in figure.ratio_ci95 or ()]
    return f" ({told}, {units.interval(*bounds)})" if len(set(bounds)) > 1 else f" ({told})"


def factor(ratio: float) -> str:
    """A ratio with as many digits as say something: 0.31, 1.02, 4.7, 38."""
    return f"{ratio:.2f}" if ratio < 1.995 else f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:,.0f}"


def _share(share: float) -> str:
    return f"{100 * share:.{0 if share >= 0.0995 else 1}f} %"


def written(path: str, value: float | None) -> str:
    """A figure as people read it."""
    return FIGURES[path].written(value)


def change(path: str, figure: Moved) -> str:
    """How far it has moved, with its interval: ×4.7 (4.5 to 4.9); where no such ratio says much, the difference."""
    if figure.difference is None:
        return units.NONE
    low, high = figure.ratio_ci95 or (figure.ratio or 0.0,) * 2
    if 1 / RATIO_TOLD_MAX <= low <= high <= RATIO_TOLD_MAX and figure.ratio is not None:
        told = f"×{factor(figure.ratio)}"
        bounds = [factor(bound) for bound in figure.ratio_ci95 or ()]
    else:
        told = _signed(path, figure.difference)
        bounds = [_signed(path, bound) for bound in figure.ci95 or ()]
    return f"{told} ({units.interval(*bounds)})" if bounds and len(set(bounds)) > 1 else told


def _signed(path: str, value: float) -> str:
    if value == 0 or math.isnan(value):
        return "no change"
    return f"{'+' if value > 0 else ''}{FIGURES[path].written(round(value, 3))}"


def rows(answer: Answer) -> list[Sequence[str]]:
    """A row a figure: its name, before, after, change."""
    return [
        (FIGURES[path].label, written(path, one.before), written(path, one.after), change(path, one))
        for path, one in answer.figures.items()
    ]


def summary_row(answer: Answer) -> Sequence[str]:
    """An answer in one line: title, p99 after, its change, dead, drain, its change."""
    figures = answer.figures
    cells = [answer.question.title]
    for path in (P99, DEAD, DRAIN.path):
        one = figures.get(path)
        cells.append(units.NONE if one is None else written(path, one.after))
        if path != DEAD:
            cells.append(units.NONE if one is None else "same" if is_still(one) else change(path, one))
    return cells


def live_head(repeats: int) -> Sequence[str]:
    """The head of `live_rows`."""
    runs = "one run each" if repeats == 1 else f"live, {repeats} runs each"
    return runs, "model before", "after", "", "live before", "after", "" if repeats == 1 else "(95 %)"


def live_rows(figures: Mapping[str, Mapping[str, Moved]]) -> list[Sequence[str]]:
    """A row a figure: model before, after, change; live before, after, change."""
    return [
        (
            FIGURES[path].label,
            *(
                cell
                for engine in ("model", "live")
                for cell in (
                    written(path, both[engine].before),
                    written(path, both[engine].after),
                    change(path, both[engine]),
                )
            ),
        )
        for path, both in figures.items()
    ]
