"""The page What-if: a scenario on top, six cards, and what the chosen ones do: in the model at once, live on demand.

/whatif?scenario=NAME&card=KEY[:VALUE]&card=…&job=ID
"""

from __future__ import annotations

from typing import Final

import streamlit as st

from lab.errors import LabError, ScenarioError
from lab.scenario import Scenario
from lab.whatif import CARDS, Answer
from lab.whatif_words import verdict
from ui import compare_charts, library, text, whatif_answer, whatif_deck, whatif_live, whatif_model
from ui.whatif_model import Dealt

CHOSEN: Final = "whatif-scenario"


def screen() -> None:
    """The whole page."""
    st.html(whatif_deck.css(dark=compare_charts.dark()) + whatif_answer.CSS)
    scenario = _scenario()
    if scenario is None:
        return
    try:
        _asked(scenario)
    except LabError as error:
        st.error(text.escape(text.sentence(str(error))), icon=":material/error:")


# ---- which scenario --------------------------------------------------------------------------------------------------


def _scenario() -> Scenario | None:
    """The scenario on top; None, and why, while it is not one."""
    files = {**library.saved(), **library.shipped()}
    asked = st.query_params.get("scenario", "")
    if asked and asked not in files and (other := library.find(asked)) is not None:
        files[asked] = other
    first, about, switch = st.columns([3, 4.4, 2.1], vertical_alignment="bottom", gap="medium")
    with first:
        st.session_state[CHOSEN] = asked if asked in files else library.DEFAULT
        name = st.selectbox("What if … in the scenario", list(files), key=CHOSEN, on_change=_choose)
        file = files[str(name)]
    about.caption(text.escape(file.claim))
    with switch:
        whatif_deck.combine_switch()
    try:
        return library.load(file.text, file.path.name, library.base(file.folder))
    except ScenarioError as error:
        st.error("This scenario has problems; mend them on the page Scenarios:", icon=":material/error:")
        st.code(str(error), language=None, wrap_lines=True)
        return None


def _choose() -> None:
    """Another scenario: the cards stay on the table (a callback)."""
    st.query_params["scenario"] = st.session_state[CHOSEN]
    st.query_params.pop("job", None)


# ---- cards and answer ------------------------------------------------------------------------------------------------


def _asked(scenario: Scenario) -> None:
    chosen = whatif_deck.chosen()
    dealt = whatif_model.deal(scenario, chosen)
    count = whatif_model.replications(scenario)
    cards = st.empty()
    outcomes: dict[str, Answer] = {}
    if count:
        cards.html(whatif_deck.waiting())
        with st.spinner("Asking the model …"):
            outcomes = {one.key: whatif_model.answer(one.asked, count) for one in dealt if one.asked is not None}
    with cards.container():
        whatif_deck.show(dealt, outcomes)
    if not chosen:
        _overview(dealt, outcomes)
        return
    whatif_deck.adjust(scenario, chosen)
    put = whatif_model.put(scenario, chosen)
    if put.asked is None:
        st.warning(text.escape(text.sentence(put.why)), title="This does not apply here", icon=":material/block:")
        return
    found = None
    if count:
        with st.spinner("Asking the model …"):
            found = whatif_model.answer(put.asked, count)
        whatif_answer.show(found)
    else:
        st.info(
            "This scenario has too many tasks to be asked while you wait. On the command line: "
            f"`meshlab whatif … {' '.join(f'--card {one}' for one in chosen)}`.",
            icon=":material/terminal:",
        )
    whatif_live.section(scenario, found, chosen, put.asked.live_hindrance)


def _overview(dealt: list[Dealt], outcomes: dict[str, Answer]) -> None:
    """Before anything is chosen: what each card does, in a sentence."""
    if not outcomes:
        st.caption("Choose a card. This scenario has too many tasks for the model to be asked while you wait.")
        return
    st.markdown("##### Choose a card to see what it does", anchors=False)
    lines = []
    for one in dealt:
        if one.key in outcomes and one.asked is not None:
            said = " ".join(verdict(outcomes[one.key])[:2])
            lines.append(f"- **{text.escape(one.asked.title)}**: {text.escape(said)}")
        elif one.why:
            lines.append(f"- :gray[{text.escape(CARDS[one.key].title)}: does not apply: {text.escape(one.why)}]")
    st.markdown("\n".join(lines))
