"""Run a scenario in the model and on the real thing, and see the two, or any other runs, side by side."""

from __future__ import annotations

import streamlit as st

from ui import compare_overview, compare_page, forms, screens


def main() -> None:
    """Read the form, show what the address asks for."""
    st.html(compare_overview.CSS)
    choice = forms.sidebar()
    if "job" in st.query_params:
        compare_page.show_job(st.query_params["job"])
    elif "run" in st.query_params:
        compare_page.show_records(st.query_params["run"])
    else:
        screens.empty(choice)


main()
