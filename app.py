"""`streamlit run app.py` starts the app: this file is both the server's entry and the script of every page."""

import streamlit as st

if __name__ == "__main__":  # Streamlit runs page scripts as __main__; the tests do too
    from ui.shell import render

    render()
else:  # the server imports this module once, and finds `app`
    from streamlit.runtime.pages_manager import PagesManager

    from ui import doorway, studio_routes
    from ui.mesh import routes

    # Our pages/ is routed by st.navigation. Left alone, Streamlit would also take it for its older kind of pages: a
    # deep link to a fresh server would then skip this file. (A private name: tests/ui/test_browser.py watches it.)
    PagesManager.uses_pages_directory = False
    app = st.App(
        __file__,
        routes=[*routes.ROUTES, *studio_routes.ROUTES],
        lifespan=routes.LIFESPAN,
        middleware=doorway.MIDDLEWARE,
    )
