"""The command center's live mesh: one session at a time, which everybody watches and anybody steers.

`script` says what a person's command means for the scenario of the session, `sides` feeds and ends the two processes
that play it (the model and the live backend), `hub` keeps them together and tells the frames, `stream` hands them to
browsers, `door` and `routes` are the way in.
"""
