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

# Knobs that are turned while a mesh runs (lab/changes.py).
CHANGE_LAG_S_MAX: Final = 1.0
"""How much later than its moment a turned knob may reach a live worker process: it is told, and may be busy."""

# The library of records (lab/run_notes.py, lab/run_archive.py, ui/runs_*.py). An archive may come from a stranger.
TAGS_MAX: Final = 12
TAG_CHARS_MAX: Final = 32
NOTE_CHARS_MAX: Final = 2_000
"""What people write about a run: a few words and a paragraph; more is a document, which belongs elsewhere."""
NOTES_BYTES_MAX: Final = 64 * 1024
RUN_INFO_BYTES_MAX: Final = 4 * MIB
"""run.json with the largest scenario and an error of each check takes a tenth of that."""
IMPORT_BYTES_MAX: Final = 256 * MIB
"""An archive that is taken in: a record of 5,000,000 tasks."""
IMPORT_UNPACKED_BYTES_MAX: Final = 1024 * MIB
IMPORT_RECORDS_MAX: Final = 200
IMPORT_DIRECTORY_BYTES_MAX: Final = 256 * 1024
"""An archive's table of contents: some 2,500 entries. It is read whole before anything else can be judged."""
IMPORT_ROWS_MAX: Final = 60_000_000
"""Rows of one table: twelve transitions a task of the largest run. A Parquet file of a kilobyte can promise more."""
EXPORT_BYTES_MAX: Final = 512 * MIB
"""The app holds what is downloaded in memory for a moment."""

# What a live view is told (lab/telemetry.py). A frame goes to every browser ten times a second.
TELEMETRY_BINS_MAX: Final = 7_200
"""An hour of half seconds: twice the longest session. Some 100 bytes each."""
RUNNING_CARDS_MAX: Final = 30
"""Cards of running tasks that a lane is told of; the rest is counted."""
FRAME_EVENTS_MAX: Final = 50
"""Events of one frame: more in a tenth of a second are summed up."""
STRIKES_MAX: Final = 50
"""Strikes whose tasks are followed and told, the newest."""

# The scenario studio (ui/studio_*.py). What is typed there is checked at every pause in the typing.
STUDIO_BODY_BYTES_MAX: Final = 2 * SCENARIO_BYTES_MAX
"""A scenario in JSON, where line ends and quotes take two bytes."""
STUDIO_CHECKS_MAX: Final = 2
"""Texts that are checked at the same time: a large one takes a second of a core."""
PROBLEMS_SHOWN_MAX: Final = 100
"""What a person mends before looking again."""
SAVED_SCENARIOS_MAX: Final = 1_000
"""Files in the folder of own scenarios: a page of cards, not an archive."""
PREVIEW_TASKS_MAX: Final = 200_000
"""Arrivals that a preview draws: some 50 ms. Above it, what would be drawn is only said."""
PREVIEW_RUN_TASKS_MAX: Final = 3_000
"""Tasks that the model runs for a preview: some 0.1 s of a core that the live view shares."""
PREVIEW_RUN_S_MAX: Final = 3_600.0
"""And seconds of the run: workers report every second of it, however little there is to do."""

# Run & compare (ui/compare_*.py).
RUNS_COMPARED_MAX: Final = 40
"""Runs on one page: more lines cannot be told apart, and a run of 100,000 tasks takes some 50 MB while it is shown."""
REPLICATIONS_APP_MAX: Final = 40
"""Replications that the app starts at a time, since it shows them all; the command line makes more."""
RECORDS_HELD_MAX: Final = 24
"""Records that the app keeps in memory for the next look."""

# A session's sides (simulation/session.py, live_backend/session.py).
SESSION_DRAIN_S_MAX: Final = 10.0
"""What has come when a session is ended may end by itself for this long; then the run counts as interrupted."""
SESSION_AHEAD_S_MAX: Final = 120.0
"""How far ahead of the wall clock the model runs when it may run at once: what a person still waits for."""
SESSION_LINE_BYTES_MAX: Final = 8 * MIB
"""A line from the hub: a scenario of the largest size in JSON takes a tenth of that."""

# A session of the command center (ui/mesh): a scenario that people grow while it runs, and everybody who watches it.
SESSION_S_MAX: Final = 1_800.0
"""Half an hour: the model replays a session from its start whenever somebody turns a knob."""
SESSION_TASKS_MAX: Final = 300_000
"""For the same reason; planned for the whole session, so a higher rate ends it earlier."""
SESSION_RATE_PER_S_MAX: Final = 2_000.0
"""What one PostgreSQL of a small machine can take in for minutes (docs/SCALING.md)."""
SESSION_BURST_TASKS_MAX: Final = 20_000
SESSION_ACTIONS_MAX: Final = 900
"""Turns of knobs, bursts and faults; so the session fits a scenario file and its list of faults."""
SESSION_WORKERS_MAX: Final = 12
"""Live, each is a process of some 80 MiB."""
SESSION_SLOTS_MAX: Final = 64
SESSION_ALONE_S_MAX: Final = 600.0
"""A session that nobody has watched for this long, and in which nothing is left to do, is stopped and saved."""
SESSIONS_KEPT: Final = 20
"""Folders with the logs of sessions; the records are kept apart from them, for as long as people want."""
COMMAND_BYTES_MAX: Final = 4_096
STREAMS_MAX: Final = 50
"""Browser windows that watch at the same time."""
STREAM_SEND_S_MAX: Final = 20.0
"""A browser that takes nothing for this long is gone."""
SIDE_LINE_BYTES_MAX: Final = 4 * MIB
"""A frame with all bins of an hour takes a tenth of that."""
SIDE_LINES_MAX: Final = 100
"""Lines that may wait for a side to read them: turns of knobs are told ten times a second at most."""
SIDE_READY_S_MAX: Final = 90.0
"""The first start of an embedded PostgreSQL makes its cluster; a slow disk takes long."""
SIDE_SILENT_S_MAX: Final = 20.0
"""A running side tells ten frames a second, and at least one while it is busy."""
SIDE_STOP_S_MAX: Final = 90.0
"""Draining takes ten seconds at most, reading and judging the record of a long session the rest."""
SIDE_END_S_MAX: Final = 8.0
"""A side whose standard input was closed has this long to end what it started; then its processes are killed."""
APP_END_S_MAX: Final = 0.5
"""The app itself waits no longer for them: Ctrl-C is answered at once, and they end by themselves."""
TOLD_ROWS_AT_A_TIME: Final = 2_000
"""Transitions that a side folds between two looks at the clock: some 10 ms."""
DESK_ANSWER_S_MAX: Final = 2.0
"""The page of dead letters waits no longer for PostgreSQL or for the API of a mesh: it says so instead."""
DESK_PAGES_MAX: Final = 10
"""Pages of 200 that a search through error texts reads before it shows what it has found and goes on from there."""

# The live side of a session (live_backend/session.py, live_backend/tail.py).
TAIL_CATCH_UP_S_MAX: Final = 3.0
"""Waiting for the last rows of the log before a session's record is read: a flush, unless a server is away."""
VERIFY_SHARE_MAX: Final = 0.05
"""Share of the time for which the counting of what is stored may keep PostgreSQL busy."""
SESSION_END_S_MAX: Final = 6.0
"""A session that is left without a word tidies up for this long at most, and then just ends: before it is killed."""

# `meshlab app` (cli/app_server.py).
APP_START_S_MAX: Final = 60.0
"""A cold start on a busy machine reads some hundred MB of packages; more than this is a fault."""
APP_STOP_S_MAX: Final = 15.0
"""From SIGTERM on: the app ends its sessions' processes first. Then it is killed."""
SCREENSHOT_BYTES_MAX: Final = 250_000
"""Pictures in docs/screens: a clone of the repository should stay quick (ui/screenshots.py)."""

# Sweeps (lab/sweep*.py). Their rows are held in memory until the file is written, some 3 KB each.
SWEEP_POINTS_MAX: Final = 100_000
SWEEP_RUNS_MAX: Final = 200_000
"""Points times replications."""
SWEEP_CONNECT_S_MAX: Final = 10.0
"""A scheduler answers in milliseconds; one that has not by then is not there, or no scheduler."""
SWEEP_WITHOUT_WORKERS_S_MAX: Final = 60.0
"""A cluster that has had no worker for so long is not restarting one: the sweep ends, and can be resumed."""
CLUSTER_ANSWER_S_MAX: Final = 10.0
"""A row that has not come by then was on a worker that died; it is asked for again when it has been made anew."""
SWEEP_LUGGAGE_BYTES_MAX: Final = 64 * MIB
"""Traces and profiles that travel to each worker of a cluster with a sweep."""

# The prediction test (lab/twin*.py).
TWIN_TASKS_MAX: Final = 300_000
"""Tasks of one scenario: the model's record and those of all repeats are held, some 300 bytes a task each."""
TWIN_REPEATS_MAX: Final = 100
"""More repeats of one machine say nothing new."""

# The capacity planner (lab/planning*.py).
PLAN_VALUES_MAX: Final = 60_000_000
"""Times of tasks that a plan holds while it searches, 8 bytes each: half a gigabyte."""
PLAN_CANDIDATES_MAX: Final = 1_000_000
"""Meshes among which a plan may search; it runs a handful of each thousand."""
PLAN_CONFIRM_S_MAX: Final = 600.0
"""A live run that takes longer is no confirmation that anybody waits for: start it with `meshlab run`."""
PLAN_CONFIRM_TASKS_MAX: Final = 100_000
"""For the same reason, however fast they come."""
PLAN_CONFIRM_MEMORY_SHARE_MAX: Final = 0.8
"""Of the memory that is free: the servers, and whatever else runs here, need the rest."""
PLAN_CONFIRM_BUSY_MAX: Final = 0.9
"""Share of this machine's cores that a live run may need: above it one would measure the machine, not the mesh."""

# Records of real queues (lab/observed*.py, lab/fitting*.py), and the shadow of a standing mesh.
OBSERVED_BYTES_MAX: Final = TRACE_BYTES_MAX
"""A file of records that is read: it is held in memory, as a trace is."""
FIT_BOOTSTRAP_VALUES_MAX: Final = 2_000
"""Up to so many values the p-value of a fit is found by simulation, in about a second; with more, any tiny misfit is
significant, and only its size says something."""
FIT_EMPIRICAL_VALUES_MAX: Final = 100_000
"""Values that an empirical distribution keeps: evenly spaced quantiles of more say the same."""
SHADOW_WINDOW_S_MIN: Final = 5.0
SHADOW_WINDOW_S_MAX: Final = 3_600.0
SHADOW_EVERY_S_MIN: Final = 0.2
SHADOW_ROWS_MAX: Final = 200_000
"""Rows of the audit log that a shadow holds (some 50,000 tasks): a busier mesh is watched over a shorter window."""
SHADOW_QUERY_S_MAX: Final = 5.0
"""A look that takes longer is cut: who watches must not become the load."""
SHADOW_BACKLOG_TASKS_MAX: Final = 20_000
"""Tasks that were waiting when the window begins and have not moved since; of more, the oldest count."""

LOOP_FILL_BYTES_MAX: Final = 4 * MIB
"""A task's memory is filled on its worker's event loop up to this size; more takes milliseconds, and a thread."""

COST_S_MAX: Final = 60.0
"""Seconds that one step of the machinery takes in a profile: more is no machinery but an outage."""

# The page What-if (ui/whatif_*.py).
WHATIF_TASKS_MAX: Final = 30_000
"""Tasks of all runs of one side that the page asks the model for while a reader waits: well under a second."""

# What if, live (lab/whatif_live.py).
WHATIF_REPEATS_MAX: Final = 20
"""Live runs of each side of a question: all their records are held, and more say nothing new of a machine."""

REPORT_RUNS_MAX: Final = 100
"""Runs of one HTML report: each is read whole, and draws its own curves."""
