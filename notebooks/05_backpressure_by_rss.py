# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What does backpressure by memory save, and what does it cost?
#
# It saves memory that nobody needs any more, garbage above all, and that costs next to nothing. Memory that running
# tasks hold it cannot save: the peak stays what it was, only the time above the limit shrinks, and latency pays for
# it. Whoever knows what a task holds does better to count slots.
#
# The rule: each worker reports its RSS; at the limit its *gate* closes and it takes no task until it is 20 % below.
# While half of the gates are closed, the producer *holds* new tasks (`scope: fleet`).

# %%
import pandas as pd

from lab import Scenario, figures, teaching
from lab.limits import MIB
from live_backend import run_live
from simulation import simulate

# %% tags=["parameters"]
LIMIT_MIB = 400  # of a worker process
TASK_MIB = 60  # held by each task while it works
ARRIVALS_S = 4.5

# %%
OFF = {"rules.health.backpressure": False}


def peak_mib(record) -> float:
    """The largest RSS that any worker reported."""
    return record.info["summary"]["rss_bytes"]["peak"] / MIB


def above(record) -> float:
    """Share of the workers' reports above the limit."""
    reports = record.samples.loc[record.samples["worker"] != "", "rss_bytes"]
    return float((reports >= record.scenario.rules.health.rss_limit_bytes).mean())


def mean_s(record) -> float:
    """Mean latency in s."""
    return record.info["summary"]["latency_s"]["mean"]


def largest_worker(finding: str, *runs):
    """RSS of the largest worker over time, of each (record, name, colour, dash), and the limit."""
    figure = teaching.chart(
        finding, "Time since the start (s)", "RSS of the largest worker (MiB)", yaxis_rangemode="tozero"
    )
    for record, name, colour, dash in runs:
        at_s, size = figures.fleet_max(record)
        teaching.line(figure, at_s, size / MIB, name, colour, dash)
    limit_mib = runs[0][0].scenario.rules.health.rss_limit_mib
    figure.add_hline(limit_mib, line_color="#808080", line_width=1, annotation_text=f"limit {limit_mib:.0f} MiB")
    return figure


# %% [markdown]
# ## Memory that lingers
#
# First a heap that behaves badly, in the model: more than half of what a task used stays behind as garbage, and a
# tenth of that does not come back even when it is collected. A worker whose gate closes stops, collects, and returns
# its free heap to the system.

# %%
sawtooth = Scenario.load("../scenarios/rss_sawtooth.yaml")
bad, cured = simulate(sawtooth.override(OFF)), simulate(sawtooth)
closed = cured.info["summary"]["gates"]

heap = largest_worker(
    f"Gates hold RSS at {peak_mib(cured):.0f} instead of {peak_mib(bad):,.0f} MiB; "
    f"closed for {closed['closed_s']:.0f} s in all, "
    f"they cost {1000 * (mean_s(cured) - mean_s(bad)):.0f} ms of mean latency",
    (bad, "model without backpressure", teaching.COLOURS[1], "dot"),
    (cured, "model", teaching.MODEL_COLOUR, "solid"),
)
assert peak_mib(cured) < 0.6 * peak_mib(bad)
assert abs(mean_s(cured) / mean_s(bad) - 1) < 0.05
heap

# %% [markdown]
# ## Memory that is held
#
# Now tasks that really hold what they take, eight at a time in each of two workers: no garbage, nothing to collect.
# In the model, and on real processes that really allocate it.

# %%
held = Scenario.load("../scenarios/rss_pressure.yaml").override(
    {
        "workload.arrivals.duration_s": ARRIVALS_S,
        "workload.roles.HOARDER.memory_mib": TASK_MIB,
        "rules.health.rss_limit_mib": LIMIT_MIB,
    }
)
free, gated = simulate(held.override(OFF)), simulate(held)
live = run_live(held)

pressure = largest_worker(
    f"The peak is {peak_mib(gated):.0f} MiB with gates and {peak_mib(free):.0f} without; time above the limit "
    f"falls from {100 * above(free):.0f} to {100 * above(gated):.0f} %, "
    f"mean latency rises from {mean_s(free):.1f} to {mean_s(gated):.1f} s",
    (free, "model without backpressure", teaching.COLOURS[1], "dot"),
    (live, "live", teaching.LIVE_COLOUR, "solid"),
    (gated, "model", teaching.MODEL_COLOUR, "dash"),
)
assert not live.info["checks"]["failed"], live.info["checks"]["failed"]
assert abs(peak_mib(gated) / peak_mib(free) - 1) < 0.1
assert LIMIT_MIB < peak_mib(live) < 1.1 * peak_mib(gated)
assert above(gated) < 0.7 * above(free) and mean_s(gated) > 1.3 * mean_s(free)
pressure

# %% [markdown]
# Why does the peak not fall? A gate that opens finds eight free slots and a queue, and fills them all before anybody
# has reported anything. The gate sees what is held; it does not see what it has just let in.
#
# ## What each way costs

# %%
ways = {
    "no backpressure": OFF,
    "scope: worker": {"rules.health.scope": "worker"},
    "scope: fleet (default)": {},
    "… and replaced after 0.5 s": {"rules.health.recycle_after_s": 0.5},
    "3 workers × 5 slots": {"mesh.workers": 3, "mesh.slots": 5},
}
rows = {}
for way, values in ways.items():
    run = simulate(held.override(values))
    came_in_s = run.transitions.drop_duplicates("task").set_index("task")["at_s"]
    rows[way] = {
        "peak RSS (MiB)": peak_mib(run),
        "above the limit (% of reports)": 100 * above(run),
        "tasks held back": int((came_in_s.to_numpy() - run.tasks["arrival_s"].to_numpy() > 0.1).sum()),
        "workers replaced": int((run.events["kind"] == "worker_recycled").sum()),
        "mean latency (s)": mean_s(run),
    }
table = pd.DataFrame(rows).T
counted = table.loc["3 workers × 5 slots"]
assert (
    counted["peak RSS (MiB)"] < LIMIT_MIB
    and counted["mean latency (s)"] < table.loc["scope: worker", "mean latency (s)"]
)
assert abs(3 * counted["peak RSS (MiB)"] / (2 * peak_mib(gated)) - 1) < 0.15
assert table["mean latency (s)"].idxmax() == "… and replaced after 0.5 s"
print(
    f"the largest sizes of all processes together: {2 * peak_mib(gated):,.0f} MiB with gates, "
    f"{3 * counted['peak RSS (MiB)']:,.0f} MiB counted"
)
table.style.format("{:.0f}").format("{:.2f}", subset="mean latency (s)")

# %% [markdown]
# The last row has one slot less than the others and is the best deal: five tasks to a worker can never reach the
# limit, so no gate ever closes, and in all the three processes need about as much memory as the two. The
# row above it is the worst: to replace a process whose memory is about to come back by itself costs a start and gains
# nothing. `recycle_after_s`, 30 s by default, is for memory that will *not* come back.
#
# ## Change one number
#
# - `TASK_MIB = 30`: eight tasks fit below the limit. What does a gate cost that never closes?
# - `LIMIT_MIB = 250`: how much latency buys how much memory now?
# - `"rules.admission.on_closed": "reject"` among the ways: the latency looks wonderful. What became of the other
#   tasks?
