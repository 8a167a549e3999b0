"""Every bound of the lab, with its unit and its reason.

A bound protects the machine or the reader; a rule (`lab/rules`) decides what the mesh does. Units come last.
"""

from __future__ import annotations

from typing import Final

MIB: Final = 1024 * 1024

# Scenario files: a person writes them, so anything larger is a mistake or an attack.
SCENARIO_BYTES_MAX: Final = 256 * 1024
YAML_DEPTH_MAX: Final = 32
NAME_CHARS_MAX: Final = 80
ROLES_MAX: Final = 100
FAULTS_MAX: Final = 1_000
REDRIVES_MAX: Final = 300
"""Each allows ATTEMPTS_MAX more: 301 · 101 = 30,401 attempts of a task, which fit the two bytes that a record has."""
STEPS_MAX: Final = 10_000
TRACE_BYTES_MAX: Final = 256 * MIB

# Size of a run: the plan and the record are held in memory, at roughly 300 bytes a task (benchmarks/memory.py).
TASKS_MAX: Final = 5_000_000
SAMPLES_MAX: Final = 500_000
"""Rows of samples that the model keeps (some 50 bytes each): past them every second report is dropped."""
RUN_S_MAX: Final = 10 * 366 * 86_400.0
RATE_PER_S_MAX: Final = 1e6
SERVICE_S_MAX: Final = 30 * 86_400.0
ATTEMPTS_MAX: Final = 101
TASK_MEMORY_MIB_MAX: Final = 65_536
WORKERS_MAX: Final = 10_000
SLOTS_MAX: Final = 100_000
SLOTS_TOTAL_MAX: Final = 1_000_000
REPLICATIONS_MAX: Final = 10_000

# What one real machine is asked to start.
LIVE_WORKERS_MAX: Final = 48
"""Each live worker is a process of about 80 MiB with three connections; our PostgreSQL allows 200."""
LIVE_BATCH_TASKS_MAX: Final = 1_000

# Waits of the live backend. Each is a ceiling on how late something may be noticed, never a rule of the mesh.
WORKER_READY_S_MAX: Final = 60.0
WAKE_POLL_S: Final = 0.25
"""An idle worker looks at the queues this often even if no wake-up call reached it (Redis pub/sub may lose one)."""
RETRY_POLL_S: Final = 0.01
"""How late a due retry may be noticed; also the producer's finest grain of arrival times."""
IDLE_POLL_S: Final = 0.05
"""The same in a standing mesh while no retry is scheduled: it may stand idle for days."""
LEFT_POLL_S: Final = 0.05
"""How late it may be noticed that a client has left. Its task cannot be claimed meanwhile: the claim asks too."""
RECONNECT_S_MIN: Final = 0.05
RECONNECT_S_MAX: Final = 1.0
CONNECT_S_MAX: Final = 5.0
STATEMENT_S_MAX: Final = 20.0
"""A statement of ours that takes longer is stuck behind something: it is cancelled, and repeated if it is worth it."""
SWEEP_LAG_S: Final = 60.0
"""Sweeps pass over finished tasks only once they are this old: three times what a submission can take to commit, so
that no task with a lower id appears behind them."""
BLOCK_TASKS: Final = 10_000
"""Ids that an API process fetches at a time. What it does not use is lost; a bigint has 922 trillion such blocks."""
BLOCK_S_MAX: Final = 10.0
"""How long it uses them, so that ids rise with time: SWEEP_LAG_S rests on that."""
INTAKE_TASKS_MAX: Final = 20_000
"""Tasks that wait to be committed: half a second's worth. More are refused while they can still be refused quickly."""
INTAKE_AWAY_S_MAX: Final = 3.0
"""A client is told that PostgreSQL is away after this long, rather than kept."""
PUSH_S_MAX: Final = 2.0
"""A Redis that takes longer to hear of new tasks is left to the reaper."""
REDIS_CONNECTIONS_MAX: Final = 16
"""Of one client. A process does two or three things with Redis at a time; more would be a leak."""
REDIS_ANSWER_S_MAX: Final = 10.0
"""A Redis that answers nothing for this long is treated as gone: it is frozen, or the network swallows its words."""
LEADER_LEASE_S: Final = 2.0
"""How long a reaper that died keeps the others from its job."""
LEADER_RENEWALS: Final = 4
"""How often within that it says that it lives."""
SWEEP_SHARE_MAX: Final = 0.2
"""A reaper looks at most this share of its time: above a very long backlog sweeps become rarer instead of endless."""
SWEEP_ANSWER_S_MAX: Final = 0.5
"""A sweep waits no longer for Redis, which it would see again in the next one: leases lapse meanwhile."""
SWEEPS_COMPARED: Final = 3
"""By the shortest of so many: a sweep that a frozen server held up says nothing about the backlog."""
NARROW_S: Final = 60.0
"""How long a lookup in the audit log may stay slow after the upkeep of its index was cut short."""
DEEP_SWEEPS: Final = 10
"""One sweep in so many compares the queues with the store id by id, even if the numbers agree."""
DEEP_TASKS_MAX: Final = 50_000
"""Unless more tasks than this wait: reading them all takes a second, and numbers that large hide little."""
TAKEN_EXPIRE_S: Final = 600
"""What a dead worker had taken and not claimed is forgotten by Redis after this long; PostgreSQL knows it anyway."""
SERVER_AWAY_S_MAX: Final = 60.0
"""A PostgreSQL that has not answered for this long is not restarting, it is gone: the run ends with an error."""
PROGRESS_S: Final = 0.25
CANCEL_AGAIN_S: Final = 0.2
"""Background work that goes on this long after it was cancelled has missed it, and is cancelled again."""
STOP_S_MAX: Final = 5.0
"""Workers that have not left this long after their grace ended are killed by their ids."""
LINK_BEAT_S: Final = 0.1
"""An engine and the host of an invited worker exchange words this often: how late a fault or an end may arrive."""
LINK_EXPIRE_S: Final = 3.0
"""What either of them said is forgotten after this long: 30 beats, so that a busy machine is not taken for a
dead one.
"""
LINK_MISSING_S_MAX: Final = 1.5
"""A word may be missing this long before its speaker counts as gone: a wiped Redis gets it back with the next beat."""
LINK_AWAY_S_MAX: Final = 30.0
"""A host that cannot reach Redis for this long ends its workers: nobody could tell it any more that the run is over."""
INVITATIONS_EXPIRE_S: Final = 60
"""Invitations that no living engine renews are forgotten after this long; a living one renews every 1.5 s."""
INVITATION_WAIT_S: Final = 2.0
"""A host asks for an invitation for this long at a time, so that it notices a connection that died silently."""
LAST_WORDS_BYTES_MAX: Final = 4_096
"""How much of what a worker wrote before it ended badly travels to the engine: the end of a stack trace."""

STALL_S: Final = 3.0
"""A run in which nothing can happen any more, for this long beyond every wait that the rules know, is over."""

# The standing mesh and its clients.
CLIENT_RETRY_S_MAX: Final = 60.0
"""A client repeats what may be repeated for this long: longer than any restart, shorter than a person's patience."""
CLI_SILENT_S_MAX: Final = 5.0
"""The command line waits this long for an API of which nothing is heard: an API that died is replaced in a second."""
CLIENT_BACKOFF_S_MIN: Final = 0.05
CLIENT_BACKOFF_S_MAX: Final = 5.0
"""A client waits at least and at most this long before it repeats, unless the API itself says how long."""
CLIENT_ANSWER_S_MAX: Final = 30.0
"""An API that has not answered for this long is away. Its event stream says something every 15 s."""
CLIENT_BATCH_BYTES_MAX: Final = 768 * 1024
"""A client's batches are cut at this size, well below the body of 1 MiB that the API takes."""
CLIENT_POLL_S_MIN: Final = 0.02
CLIENT_POLL_S_MAX: Final = 0.5
"""Who waits for a task asks for it this often: often at first, ever more seldom."""
SUBMIT_COUNT_MAX: Final = 1_000_000
"""What one `meshlab submit --count` submits; more is a benchmark, or a slip of the hand."""
RESTART_S_MIN: Final = 0.1
RESTART_S_MAX: Final = 30.0
"""A process that dies whenever it is started is started again this often."""
STEADY_S: Final = 10.0
"""A process that has lived for this long did not die at once: its next death is the first of its kind."""
MESH_POLL_S: Final = 2.0
"""A host asks PostgreSQL this often whether there is a standing mesh, and whether it has changed."""
MEND_S: Final = 1.0
"""How late it may be noticed that an embedded server of a standing mesh has died."""
API_STOP_S_MAX: Final = 10.0
"""An API or reaper process that has not left this long after it was asked to is killed by its id."""

# Pruning what is finished: each batch is one transaction, so that it never holds up the mesh for longer than a moment.
PRUNE_KEEP_S_MIN: Final = 3_600.0
"""What finished since then stays: clients may still ask for it, or read on in the events (FEED_RESUME_S_MAX)."""
PRUNE_BATCH_TASKS: Final = 5_000
PRUNE_BATCH_ROWS: Final = 20_000
NARROW_RANGES: Final = 64
"""Ranges of an index that are summarized anew at a time: 64 MiB of the audit log, in which lookups read it all."""
PROBE_S_MAX: Final = 0.5
"""A lookup of what is not there takes some 5 ms above ten million tasks; one that takes this long reads the table."""
PROBE_RANGES_MAX: Final = 8
"""Ranges that such a lookup may read: new ones, which are not summarized yet."""

# Work of the user's own (live_backend/workshop.py). It is not ours, so everything that comes from it has a bound.
HANDLER_HEADERS_MAX: Final = 20
HANDLER_RESULT_BYTES_MAX: Final = 256 * 1024
"""A result is stored with its task, as a payload is, and has the payload's bound."""
HANDLER_RESPONSE_BYTES_MAX: Final = MIB
"""More of an endpoint's answer is not read: a result of 256 KiB, however generously its characters are escaped."""
HANDLER_ERROR_CHARS_MAX: Final = 2_000
"""What a person reads of an error. The rest belongs in the handler's own log."""
HANDLER_RESPONSE_SHOWN_CHARS_MAX: Final = 500
"""How much of an endpoint's refusal is repeated in the error."""
HANDLER_THREADS_MAX: Final = 500
"""Calls of functions that are not async at the same time in a worker process; more wait for a thread."""
HANDLER_HUNG_THREADS_MAX: Final = 32
"""Threads that may still be at work on attempts that were cut long ago: Python cannot end a thread."""
HANDLER_PROCESSES_MAX: Final = 64
"""Processes of isolated handlers of a role in a worker, some 60 MiB each; more jobs wait for one."""
HANDLER_READY_S_MAX: Final = 60.0
"""A process that has not imported its handler by then never will."""
HANDLER_CONNECT_S_MAX: Final = 5.0
"""For one address of an endpoint; then the next one is tried."""
HANDLER_IDLE_S_MAX: Final = 5.0
"""A connection to an endpoint that has been idle this long is closed: most servers close theirs soon after."""

# The HTTP API (live_backend/api). What comes in is bounded before it is read; what goes out, before it is gathered.
API_BODY_BYTES_MAX: Final = MIB
API_BODY_S_MAX: Final = 10.0
"""A body that takes longer is a slow-loris, or a link on which nothing else would arrive either."""
API_HEADER_BYTES_MAX: Final = 32 * 1024
API_HEADER_S_MAX: Final = 10.0
"""A connection on which no request has begun to be answered for this long, although bytes came, is closed."""
API_CLIENTS_MAX: Final = 2_000
"""Connections at a time, some 50 KiB each with their buffers."""
API_BATCH_TASKS_MAX: Final = 1_000
PAYLOAD_BYTES_MAX: Final = 256 * 1024
JSON_DEPTH_MAX: Final = 64
"""Deeper than any real document, and far from where parsers of other languages overflow their stacks."""
KEY_CHARS_MAX: Final = 200
FOUND_CHARS_MAX: Final = 80
"""How much of a wrong value an error repeats."""
FINDINGS_MAX: Final = 20
"""How many wrong places one error names."""
PAGE_TASKS_MAX: Final = 200
PAGE_TASKS: Final = 50
SCAN_ROWS_MAX: Final = 100_000
"""A page looks at no more rows than these (some 50 ms): a search for a rare state gets short pages, and goes on."""
TRANSITIONS_SHOWN_MAX: Final = 10_000
LETTERS_AT_ONCE_MAX: Final = 10_000
"""What one request redrives or discards; repeat it until nothing is left."""
LOOKED_AGAIN_MAX: Final = 20
"""A task that moves each time an operator's action is about to be written is given up after so many looks."""
WORKER_SHOWN_S: Final = 600.0
"""Workers that were last heard of longer ago than this are history, and not listed."""
WORKERS_SHOWN_MAX: Final = 1_000
API_CONNECTIONS_MAX: Final = 4
"""To PostgreSQL for reads and operators' actions; the intake and the event feed have their own."""
POOL_WAIT_S_MAX: Final = 5.0
API_QUERY_S_MAX: Final = 10.0
"""A read that takes longer is cut: it would starve the others."""
API_AWAY_RETRY_S: Final = 1.0
"""What a client is told to wait when PostgreSQL is away: most restarts take that long."""
HEALTH_S_MAX: Final = 2.0
"""A server that has not answered a health check by then is away."""
GAUGE_S: Final = 0.5
"""How old the figures are on which admission decides."""
API_GRACE_S_MAX: Final = 5.0
"""Requests under way when the API is asked to leave get this long; streams are told at once."""

# The event feed (live_backend/feed.py).
FEED_STREAMS_MAX: Final = 20
FEED_BATCH_EVENTS: Final = 1_000
"""What the tail hands out at a time: few enough that a reader who keeps up never has a full queue for it."""
FEED_RESUME_EVENTS: Final = 10_000
"""What one reader's look at the past brings: each look sorts all that is left, so it should not take many."""
FEED_QUEUE_EVENTS_MAX: Final = 5_000
"""What waits for one reader, some 400 bytes each; a slower one is told what it missed."""
FEED_WRITE_EVENTS_MAX: Final = 200
FEED_BACKLOG_EVENTS_MAX: Final = 100_000
"""Who has missed more than that is told to start afresh: reading it all would take longer than a new look."""
FEED_RESUME_S_MAX: Final = 3_600.0
"""Events older than this may have been pruned, so an id that old is not resumed from."""
FEED_HEARTBEAT_S: Final = 10.0
"""Something is said this often, so that proxies (60 s by default) and clients (15 s) know that the stream lives."""
FEED_START_S_MAX: Final = 5.0
FEED_SEND_S_MAX: Final = 30.0
"""A reader that takes nothing for this long is gone."""
FEED_SUMMARIZE_S: Final = 1.0
"""How often the newest rows of the audit log are brought into its index: until then each look reads them all."""
FEED_LOCK_MS_MAX: Final = 50
"""Shorter than PostgreSQL's deadlock_timeout, so that a vacuum is never cancelled for it."""
SOCKET_MESSAGE_BYTES_MAX: Final = 64 * 1024
SOCKET_PING_S: Final = 20.0

# A soak (live_backend/soak.py), which strikes a mesh of its own.
SOAK_MINUTES_MAX: Final = 24 * 60
SOAK_EVERY_S_MAX: Final = 3_600
SOAK_RATE_PER_S_MAX: Final = 5_000
"""A client in the same process as the nemesis submits them; more is a benchmark."""
SOAK_REQUESTS_MAX: Final = 256
"""Requests under way at the same time. While more would be, nothing is submitted, and the report says so."""
SOAK_DRAIN_S_MAX: Final = 180.0
"""A mesh that has been healed and still has work after this long has lost it."""
