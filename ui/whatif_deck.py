"""The six cards of the page What-if: what each asks, what came of it, and the values of those that are on the table.

The address says which cards are chosen and with which values: `?card=failures:10&card=redis-away`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import streamlit as st

from lab.metastability import POLICIES
from lab.scenario import Scenario
from lab.whatif import CARDS, Answer, Asked
from lab.whatif_words import badge, grade
from ui import palette, text
from ui.whatif_model import Dealt

ICONS: Final = {
    "provider-slow": ":material/hourglass_bottom:",
    "failures": ":material/error:",
    "traffic": ":material/trending_up:",
    "lose-workers": ":material/group_remove:",
    "redis-away": ":material/database_off:",
    "policy": ":material/alt_route:",
}
UNIT: Final = re.compile(r"(\d) (s)\b")
COMBINE: Final = "whatif-combine"
COLOURS: Final = {"good": "green", "none": "gray", "warn": "orange", "bad": "red"}
VALUES: Final[dict[str, tuple[str, ...]]] = {
    "provider-slow": ("1.5", "2", "3", "5", "10"),
    "failures": ("2", "5", "10", "20"),
    "traffic": ("1.25", "1.5", "2", "3", "5"),
    "redis-away": ("5", "10", "30", "60", "120"),
}
DEFAULTS: Final = {"provider-slow": "2", "failures": "5", "traffic": "2", "redis-away": "30"}
LABELS: Final = {
    "provider-slow": "Slower by",
    "failures": "Failures",
    "traffic": "Traffic",
    "redis-away": "Redis away for",
    "lose-workers": "Workers that die",
}
CSS: Final = """
<style>
[class*="st-key-whatif-card-"] button {min-height: 10rem; align-items: flex-start; text-align: left;
  justify-content: flex-start; padding: .8rem .7rem; border-radius: 10px}
[class*="st-key-whatif-card-"] button:hover {transform: translateY(-1px); box-shadow: 0 2px 10px rgba(0, 0, 0, .08)}
[class*="st-key-whatif-card-"] button > div, [class*="st-key-whatif-card-"] button > div > span {
  justify-content: flex-start; align-items: flex-start; width: 100%}
[class*="st-key-whatif-card-"] button p {line-height: 1.4; white-space: normal; text-align: left}
[class*="st-key-whatif-card-"] button p strong {display: block; font-size: .95rem; margin-bottom: .2rem}
[class*="st-key-whatif-card-"] button p small {display: block; opacity: .75; margin-bottom: .5rem; font-size: .78rem}
[class*="st-key-whatif-card-"] button .stMarkdownBadge {display: block; width: fit-content; font-size: .72rem;
  white-space: nowrap; margin-top: .35rem; padding: 0 .3rem; letter-spacing: -.01em}
[class*="st-key-whatif-card-chosen-"] button {box-shadow: inset 0 0 0 2px CHOSEN;
  background: color-mix(in srgb, CHOSEN 10%, transparent)}
[class*="st-key-whatif-card-chosen-"] button [data-testid="stIconMaterial"] {color: CHOSEN}
.whatif-wait {display: grid; grid-template-columns: repeat(auto-fit, minmax(176px, 1fr)); gap: 1rem}
.whatif-wait div {height: 10rem; border-radius: 10px; background: color-mix(in srgb, currentColor 6%, transparent);
  animation: whatif-wait 1.2s ease-in-out infinite alternate}
@keyframes whatif-wait {from {opacity: 1} to {opacity: .45}}
@media (prefers-reduced-motion: reduce) {.whatif-wait div {animation: none}}
</style>
"""


def css(*, dark: bool) -> str:
    """The style of the cards on light or on dark ground."""
    return CSS.replace("CHOSEN", palette.engine_colour("sim", dark))


def waiting() -> str:
    """What stands in the cards' place while the model is asked: nothing jumps when they come. HTML."""
    return f'<div class="whatif-wait">{"<div></div>" * len(CARDS)}</div>'


def chosen() -> list[Asked]:
    """The cards in the address; what is no card there is left out."""
    found: list[Asked] = []
    for said in st.query_params.get_all("card"):
        key, _, value = said.partition(":")
        if key in CARDS and key not in {one.key for one in found}:
            found.append(Asked(key, value))
    return found


def show(dealt: Sequence[Dealt], outcomes: dict[str, Answer]) -> None:
    """All six, side by side as far as there is room."""
    on = {one.key for one in chosen()}
    with st.grid(6, min_column_width=176):
        for one in dealt:
            _card(one, outcomes.get(one.key), on=one.key in on)


def _card(dealt: Dealt, outcome: Answer | None, *, on: bool) -> None:
    card = CARDS[dealt.key]
    with st.container(key=f"whatif-card-{'chosen-' if on else ''}{dealt.key}"):
        st.button(
            f"**{_unbroken(card.title)}** :small[{text.escape(_about(dealt))}] {_badge(outcome)}",
            icon=ICONS[dealt.key],
            key=f"ask-{dealt.key}",
            width="stretch",
            disabled=dealt.asked is None and not on and not st.session_state.get(COMBINE),
            on_click=_choose,
            args=(dealt.key,),
            help=text.escape(dealt.why) if dealt.why else None,
        )


def _unbroken(title: str) -> str:
    """A number and its unit stay on one line."""
    return UNIT.sub("\\1\u00a0\\2", title)


def _about(dealt: Dealt) -> str:
    """The standing words of a card; of one with a value of its own, what it then is."""
    if dealt.asked is None:
        return "Does not apply here."
    return f"{dealt.asked.title}." if dealt.asked.asked[0].value else CARDS[dealt.key].about


def _badge(outcome: Answer | None) -> str:
    """What came of it in a word and a number."""
    if outcome is None:
        return ""
    return f":{COLOURS[grade(outcome).mood]}-badge[{text.escape(badge(outcome))}]"


def _choose(key: str) -> None:
    """A click: this card alone; or, while cards add up, this card too, or not any more (a callback)."""
    now = chosen()
    if not st.session_state.get(COMBINE):
        put([] if [one.key for one in now] == [key] else [Asked(key)])
    elif key in {one.key for one in now}:
        put([one for one in now if one.key != key])
    else:
        put([*now, Asked(key)])


def put(asked: Sequence[Asked]) -> None:
    """Choose these cards: the address says so from now on."""
    st.query_params.pop("job", None)
    if asked:
        st.query_params["card"] = [str(one) for one in asked]
    else:
        st.query_params.pop("card", None)


# ---- values ----------------------------------------------------------------------------------------------------------


def adjust(scenario: Scenario, asked: Sequence[Asked]) -> None:
    """The values of the chosen cards, side by side."""
    with st.container(horizontal=True, gap="large", vertical_alignment="bottom"):
        for one in asked:
            if one.key == "policy":
                _policies(one)
            else:
                _value(scenario, one)


def _value(scenario: Scenario, asked: Asked) -> None:
    key = asked.key
    workers = scenario.mesh.workers
    offered = VALUES.get(key) or tuple(str(number) for number in range(1, min(workers, 9)))
    standard = DEFAULTS.get(key) or str(-(-workers // 3))
    now = asked.value or standard
    options = list(offered if now in offered else (*offered, now))
    st.session_state[f"whatif-value-{key}"] = now
    st.segmented_control(
        LABELS[key],
        options,
        key=f"whatif-value-{key}",
        required=True,
        format_func=lambda value: _written(key, value),
        on_change=_turn,
        args=(key,),
        width="content",
    )


def _written(key: str, value: str) -> str:
    if key == "redis-away":
        return f"{value} s"
    plain = value.replace(".", "", 1).isdecimal()
    return text.escape(value) if key == "lose-workers" or not plain else f"× {value}"


def _turn(key: str) -> None:
    value = st.session_state[f"whatif-value-{key}"]
    put([Asked(key, str(value)) if one.key == key else one for one in chosen()])


def _policies(asked: Asked) -> None:
    """Policy A and policy B, each from the list of named ones."""
    names = list(POLICIES)
    a, _, b = asked.value.rpartition(",")
    for label, key, now in (("Policy A", "a", a or "as-written"), ("Policy B", "b", b)):
        state = f"whatif-policy-{key}"
        st.session_state[state] = now if now in names else None
        st.selectbox(
            label, names, key=state, format_func=_policy, placeholder="the next better one", on_change=_pick, width=330
        )


def _policy(name: str) -> str:
    return f"{name}: {POLICIES[name].words}"


def _pick() -> None:
    a, b = (st.session_state[f"whatif-policy-{key}"] for key in ("a", "b"))
    value = f"{a or 'as-written'},{b}" if b else ""
    put([Asked("policy", value) if one.key == "policy" else one for one in chosen()])


def combine_switch() -> Any:
    """Whether a click adds a card, instead of taking it alone."""
    return st.toggle("Combine cards", key=COMBINE, help="A click then adds a card to those chosen, or removes it.")
