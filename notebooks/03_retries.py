# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Where should a failed task wait: in the slot or in the schedule?
#
# In the schedule. A slot that sleeps through a backoff is a slot that nobody else can have, so one dead provider
# stops the whole fleet, its healthy tasks most of all. Jitter and a budget come next, and are no free lunch: jitter
# is paid by the tasks that failed, a budget by the tasks that it gives up.
#
# The setting: two kinds of task share 16 slots. Three quarters are CHAT and always work. One quarter is TOOL, and its
# provider is down for a while.

# %%
import numpy as np
import pandas as pd

from lab import Scenario, metrics, teaching
from live_backend import run_live
from simulation import simulate

# %% tags=["parameters"]
LOAD = 0.5  # planned work, share of all slots
OUTAGE_S = 3.0
HERD = 240  # tasks that fail in one instant

# %%
SLOTS, SERVICE_S = 16, 0.1
outage = Scenario.parse(f"""
seed: 3
workload:
  arrivals: {{kind: poisson, rate_per_s: {LOAD * SLOTS / SERVICE_S}, duration_s: 8}}
  roles:
    CHAT: {{share: 3, service: {{dist: exponential, mean_s: {SERVICE_S}}}}}
    TOOL: {{share: 1, service: {{dist: exponential, mean_s: {SERVICE_S}}}}}
mesh: {{workers: 2, slots: {SLOTS // 2}}}
rules: {{retry: {{base_s: 0.25}}}}
faults: [{{at_s: 1, kind: role_outage, role: TOOL, for_s: {OUTAGE_S}}}]
""")
in_slot, scheduled = outage.override({"rules.retry.wait": "in_slot"}), outage


def waits_s(record, role: str) -> np.ndarray:
    """Seconds from arrival to first claim of the tasks of a role."""
    return metrics.seconds(record.tasks, "queue_wait_s")[record.tasks["role"] == role]


def mean_ms(record) -> float:
    """Mean wait of the tasks that never failed, in ms."""
    return 1000 * float(waits_s(record, "CHAT").mean())


# %% [markdown]
# ## In the slot or in the schedule
#
# The same tasks, the same failures, the same backoff (0.5, 1, 2 … s). Only the place differs where a failed task
# spends it. The published way, in the slot, goes to the real mesh as well.

# %%
asleep, aside, live = simulate(in_slot), simulate(scheduled), run_live(in_slot)
worse = mean_ms(asleep) / mean_ms(aside)

blocked = teaching.chart(
    f"Backoff in the slot makes tasks that never failed wait {worse:.0f} times as long ({mean_ms(asleep):.0f} ms, not "
    f"{mean_ms(aside):.0f} ms)",
    "Arrival of a CHAT task (s)",
    "Its wait in the queue (s)",
    yaxis_range=(-0.05, 1.18 * max(waits_s(record, "CHAT").max() for record in (asleep, live))),
)
for record, name, colour, dash in (
    (live, "in the slot, live", teaching.LIVE_COLOUR, "solid"),
    (asleep, "in the slot, model", teaching.MODEL_COLOUR, "dash"),
    (aside, "in the schedule, model", teaching.COLOURS[0], "solid"),
):
    chats = record.tasks[record.tasks["role"] == "CHAT"]
    teaching.line(blocked, chats["arrival_s"], waits_s(record, "CHAT"), name, colour, dash)
blocked.add_vrect(1, 1 + OUTAGE_S, fillcolor="#888888", opacity=0.15, line_width=0, layer="below")
blocked.add_annotation(x=1 + OUTAGE_S / 2, y=1, yref="paper", text="the provider of TOOL is down", showarrow=False)
assert not live.info["checks"]["failed"], live.info["checks"]["failed"]
assert worse > 20 and mean_ms(live) > 20 * mean_ms(aside)
blocked

# %% [markdown]
# Sleeping slots look busy and are not: this fleet has room for more work than comes, and still it stands. And it buys
# the failed tasks nothing; they, too, queue behind the sleepers.

# %%
tool_s = [
    float(np.mean(metrics.seconds(run.tasks, "latency_s")[run.tasks["role"] == "TOOL"])) for run in (asleep, aside)
]
assert tool_s[1] < tool_s[0]
print(f"mean latency of TOOL: {tool_s[0]:.2f} s in the slot, {tool_s[1]:.2f} s in the schedule")

# %% [markdown]
# ## Jitter
#
# Tasks that fail together come back together. A whole batch of tasks at once, slots for all of them, and a provider
# that is down for six seconds: how many calls does it get in each tenth of a second? Jitter draws each wait anew,
# from once to twice the backoff.

# %%
herd = Scenario.parse(f"""
workload:
  arrivals: {{kind: burst, count: {HERD}}}
  roles: {{TOOL: {{service: {{dist: constant, mean_s: 0.2}}}}}}
mesh: {{workers: 4, slots: 64}}
rules: {{retry: {{base_s: 0.5}}}}
faults: [{{at_s: 0, kind: role_outage, role: TOOL, for_s: 6}}]
""")
together, apart = simulate(herd), simulate(herd.override({"rules.retry.jitter": 1.0}))
bins_s = np.arange(0, 16, 0.1)


def calls(record) -> np.ndarray:
    """Attempts that start in each tenth of a second."""
    moves = record.transitions
    return np.histogram(moves.loc[moves["to"] == "RUNNING", "at_s"], bins_s)[0]


later = slice(10, None)  # the batch itself comes at once, whatever the policy
peaks = calls(together)[later].max(), calls(apart)[later].max()
latencies_s = [run.info["summary"]["latency_s"]["mean"] for run in (together, apart)]
stampede = teaching.chart(
    f"Jitter turns retries of {peaks[0]} at once into {peaks[1]} at most, and makes the mean task "
    f"{100 * (latencies_s[1] / latencies_s[0] - 1):.0f} % later",
    "Time since the start (s)",
    "Calls in a tenth of a second",
)
teaching.line(stampede, bins_s[:-1], calls(together), "without jitter", teaching.COLOURS[1], line_shape="hv")
teaching.line(
    stampede, bins_s[:-1], calls(apart), "jitter 1: waits up to twice as long", teaching.COLOURS[0], line_shape="hv"
)
assert peaks[0] > 0.9 * HERD and peaks[1] < 0.2 * HERD
assert latencies_s[1] > latencies_s[0]
stampede

# %% [markdown]
# ## Budget
#
# Retries are load that nobody planned. A budget allows one retry for ten successes (and ten to begin with, in each
# worker), so that they add a tenth at most. Whether that helps depends on how busy the fleet is.

# %%
loads, seeds = (0.5, 0.6, 0.7, 0.8, 0.9), range(4)
policies = {
    "no budget": {"rules.retry.jitter": 1.0},
    "budget: one retry for ten successes": {"rules.retry.jitter": 1.0, "rules.retry.budget": {}},
    "no outage at all": {"faults": []},
}


def course(policy: dict, load: float) -> tuple[float, float]:
    """Mean wait (ms) of CHAT, and dead tasks in each run, over some seeds."""
    busy = outage.override({**policy, "workload.arrivals.rate_per_s": load * SLOTS / SERVICE_S})
    runs = [simulate(busy.override({"seed": seed})) for seed in seeds]
    return np.mean([mean_ms(run) for run in runs]), np.mean([run.info["summary"]["tasks"]["dead"] for run in runs])


found = {name: [course(policy, load) for load in loads] for name, policy in policies.items()}
(free_ms, _), (bound_ms, dead) = (found[name][loads.index(0.8)] for name in list(policies)[:2])

cost = teaching.chart(
    f"At 80 % load a budget spares CHAT {free_ms - bound_ms:.0f} of {free_ms:.0f} ms and leaves {dead:.0f} TOOL dead",
    "Planned work, share of all slots",
    "Mean wait of CHAT (ms)",
    xaxis_tickformat=".0%",
)
for (name, course_of), colour, symbol in zip(
    found.items(), (*teaching.COLOURS[1::-1], teaching.THEORY_COLOUR), ("circle", "diamond", "x"), strict=True
):
    teaching.points(cost, loads, [ms for ms, _ in course_of], name, colour, symbol)
cost.update_traces(mode="lines+markers")
assert bound_ms < free_ms / 2 and dead > 20
assert (
    found["no budget"][0][0] - found["budget: one retry for ten successes"][0][0] < 5
)  # ms: at half load it saves nobody
cost

# %% [markdown]
# ## Who pays
#
# The same outage at the load of the first picture. Down the columns: what the healthy tasks pay, what the failed ones
# pay, what the provider gets for it.

# %%
rows = {}
for name, policy in {
    "in the slot": {"rules.retry.wait": "in_slot"},
    "in the schedule": {},
    "… with jitter": policies["no budget"],
    "… with jitter and budget": policies["budget: one retry for ten successes"],
}.items():
    run = simulate(outage.override(policy))
    tools = run.tasks[run.tasks["role"] == "TOOL"]
    rows[name] = {
        "CHAT: mean wait (ms)": mean_ms(run),
        "TOOL: mean latency if completed (s)": float(metrics.latency_s(tools[tools["state"] == "COMPLETED"]).mean()),
        "TOOL: dead tasks": run.info["summary"]["tasks"]["dead"],
        "TOOL: retries": run.info["summary"]["tasks"]["retries"],
    }
paid = pd.DataFrame(rows).T
assert paid["TOOL: dead tasks"].tolist()[:3] == [0, 0, 0] and paid["TOOL: dead tasks"].iloc[3] > 0
assert paid["CHAT: mean wait (ms)"].idxmax() == "in the slot"
paid.style.format("{:.0f}").format("{:.2f}", subset="TOOL: mean latency if completed (s)")

# %% [markdown]
# On a fleet with room to spare the budget only kills tasks; it is an insurance, and its case is the overload that
# does not end (notebook 4). The schedule costs nobody anything.
#
# ## Change one number
#
# - `OUTAGE_S = 1.0`: how short must an outage be before nobody minds the slot?
# - `LOAD = 0.8`: then read the last table again. Which row would you sign now?
# - `"rules.retry.budget": {"ratio": 0.5}` in the budget's policy: between which two ills is it a compromise?
#
# ## Further reading
#
# - M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
# - gRPC proposal A6, "gRPC Retry Design": the budget as a token bucket.
