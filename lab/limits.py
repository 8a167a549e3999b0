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
LEFT_POLL_S: Final = 0.05
"""How late it may be noticed that a client has left. Its task cannot be claimed meanwhile: the claim asks too."""
RECONNECT_S_MIN: Final = 0.05
RECONNECT_S_MAX: Final = 1.0
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
