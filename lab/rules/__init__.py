"""The rulebook: every decision of the mesh, as pure functions and the numbers they use.

Nothing in this package reads a clock, draws a random number, makes an id, or talks to anything: time, chance and
identity are arguments. That is why the very same functions run under SimPy's time and under the wall clock.

Where to look, and where a new rule belongs:

    tasks.py      the states of a task and the only legal ways between them
    priority.py   which queue a task joins, and which queue is served next
    retry.py      whether and when a failed task is tried again, within which budget
    deadline.py   how long a client waits, and what becomes of a task whose client has left
    lease.py      how long a claim holds, and when it is taken back
    health.py     when a worker's gate closes and opens, and when the process is replaced
    admission.py  whether a new task may come in now
    handling.py   what becomes of an attempt whose work is a handler of the user's own
    shutdown.py   what becomes of running tasks when a worker is told to stop
    view.py       how much of a busy mesh is shown to a person
    presets.py    named sets of values: ours and the published ones with their flaws
    rulebook.py   all of the above in one typed, frozen object
    explain.py    the rulebook told to people: `meshlab rules` and docs/RULES.md

A rule's number lives once, as a field with its unit in its name, its bound, its formula and its reason.
"""

from lab.rules.rulebook import Rulebook

__all__ = ["Rulebook"]
