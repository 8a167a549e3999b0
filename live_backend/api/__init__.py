"""The HTTP API of the standing mesh. `app.create_app(settings)` is the ASGI application; `python -m live_backend.api`
serves it.

One file per job: `app` puts it together, `door` is what every request passes, `body` reads JSON within bounds,
`submitting` is the hot path, `tasks`, `dead_letters` and `mesh` are the other routes, `events` the streams, `problems`
the errors, `schemas` what goes in and out, `docs` the page at /docs.
"""
