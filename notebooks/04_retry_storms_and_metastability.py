# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Why does the mesh not come back when the outage is over?
#
# Because it is busy. Its clients gave up while they waited, nobody told the workers, and each client asks again. So
# every slot works for somebody who has left, and that work makes the very queue that makes it late. The outage only
# pushed the mesh into this state; it does not take the outage to stay there. A budget for retries brings it back, and
# so does dropping the work of clients that have gone.

# %%
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from IPython.display import Markdown

from lab import Scenario, figures_metastability, teaching
from lab.metastability import POLICIES, Experiment, attempt, trials
from lab.progress import never
from lab.recovery_map import Course, Map, Ramp, Study
from simulation.observing import observe

# %% tags=["parameters"]
OUTAGE_S = 10.0  # for so long every attempt fails
LOAD = 0.5  # of what all slots together can do
RUN_S = 120.0
LOADS = (0.15, 0.3, 0.4, 0.5, 0.6, 0.8)
RUNS = 4  # seeds for each number of the map
NAMES = ("in-slot", "scheduled", "jitter", "few", "budget", "cancel")  # retry policies

# %% [markdown]
# ## A few bad seconds
#
# A few slots, short tasks, and much less work than the slots can do. A client waits a moment for a try of its task to
# start. Then it leaves; the try is made all the same, counts as failed, and after a doubling backoff the client asks
# again. Ten seconds into the run the provider goes away and every attempt fails. Then it is back, for good.

# %%
written = Scenario.load("../scenarios/metastable.yaml")
outage = {"at_s": 10, "kind": "role_outage", "role": "DEVELOPER", "for_s": OUTAGE_S}
rate_per_s = LOAD * Experiment.of(written).capacity_per_s
arrivals = {"kind": "poisson", "rate_per_s": rate_per_s, "duration_s": RUN_S}
experiment = Experiment.of(written.override({"workload.arrivals": arrivals, "faults": [outage]}))
policies = tuple(POLICIES[name] for name in NAMES)
mesh, rules = experiment.scenario.mesh, experiment.scenario.rules
print(f"{mesh.workers} × {mesh.slots} slots can do {experiment.capacity_per_s:g} tasks a second; {rate_per_s:g} come")
print(f"patience {rules.deadline.wait_s:g} s, at most {rules.retry.max_retries} retries; policies:")
for policy in policies:
    print(f"  {policy.name:10} {policy.words}")

# %% [markdown]
# ## Busy to the last slot, and nothing done
#
# The same tasks and the same outage, twice. On the left failed tasks are simply tried again. On the right each ten
# successes pay for one retry: while nothing succeeds, nothing is tried again.


# %%
def course(name):
    run = experiment.disturbed(POLICIES[name], LOAD, experiment.scenario.seed)
    return Course.of(name, LOAD, run.seed, observe(run, experiment.run_s, never), experiment)


plain, limited = course("scheduled"), course("budget")
empty = Map(experiment, policies, (LOAD,), ())
figure = figures_metastability.courses(Study(empty, courses=(plain, limited)))
teaching.stated(figure, "Without a limit on retries the slots stay full for ever, and nothing is completed")
figure.update_layout(margin={"t": 110, "b": 56}, legend_y=1.1)

# %%
last = slice(-6, None)  # the last tenth of the run
rates = (plain.arrived_per_s, plain.tried_per_s, plain.completed_per_s, limited.completed_per_s)
came, tried, done, recovered = (np.mean(rate[last]) for rate in rates)
assert done < 0.01 * came, "with your numbers the plain mesh comes back by itself"
assert tried > 0.9 * experiment.capacity_per_s and recovered > 0.9 * came
Markdown(
    f"In the last {experiment.window_s:.0f} s, the outage long over, {came:.0f} tasks come every second. The mesh on "
    f"the left makes {tried:.0f} attempts a second, as many as it ever could, and completes **{done:.0f}**. The one on "
    f"the right completes **{recovered:.0f}**."
)

# %% [markdown]
# ## The arithmetic of the trap
#
# A task that is served in time costs one attempt. A task whose client keeps leaving costs all of them, and if the
# slot sleeps through the backoff, that too. Call the ratio A. If A times the load is less than 1, even a mesh that
# works entirely in vain works faster than work comes: its queue shrinks, and clients are in time again. Above 1/A the
# bad state feeds itself.

# %%
safe = {policy.name: experiment.safe_load(policy) for policy in policies}
costs = {name: 1 / load for name, load in safe.items()}
pd.DataFrame({"attempts' worth of a slot that a task can cost (A)": costs, "safe below load": safe}).round(3)

# %% [markdown]
# ## Which policy comes back, and at which load
#
# Now the whole map: every policy at every load, with the same draws, each several times. A share and not a mean,
# because single runs are either well or lost; half of the runs at full goodput is not a mesh at 50 %.

# %%
work = trials(experiment, LOADS, RUNS)
outcomes = tuple(attempt(observe, experiment, policies, trial, never) for trial in work)
found = Map(experiment, policies, LOADS, outcomes)

values = {name: [cell.disturbed.value for cell in cells] for name, cells in found.rows.items()}
shares = pd.DataFrame(values, index=LOADS).T
figure = go.Figure(
    go.Heatmap(
        x=[f"{load:g}" for load in LOADS],
        y=list(NAMES),
        z=shares, text=shares.map("{:.2f}".format), texttemplate="%{text}", xgap=3, ygap=3, zmin=0, zmax=1,
        colorscale=figures_metastability.HEALTH, colorbar={"title": "share of runs<br>that come back"},
    )
)  # fmt: skip
teaching.stated(figure, "Fewer retries, backoff and jitter move the edge; only a budget, or cancelled work, removes it")
figure.update_layout(height=420, template="plotly_white", yaxis_autorange="reversed")
figure.update_yaxes(title_text="Retry policy", automargin=True)
figure.update_xaxes(title_text="Load before and after the outage (share of capacity)", type="category")

# %%
calm = all(cell.calm.healthy == cell.calm.runs for cells in found.rows.values() for cell in cells)
below = all(shares.loc[name, load] == 1 for name in NAMES for load in LOADS if load < safe[name])
assert calm, "without the outage every run is well, at every load and under every policy"
assert below, "no run is lost below its policy's safe load"
assert (shares.loc[["budget", "cancel"]] == 1).all(axis=None) and (shares.loc["in-slot"] == 0).all()
edge = {name: next((load for load in LOADS if shares.loc[name, load] < 1), None) for name in NAMES}
assert edge["scheduled"] <= edge["jitter"] <= edge["few"]
Markdown(
    "Without the outage every run is well. With it, plain retries first fail to come back at load "
    f"**{edge['scheduled']:g}**, jittered ones at **{edge['jitter']:g}**, a single retry at **{edge['few']:g}**; a "
    "slot that sleeps is lost at every load. With a budget, or with work that is cancelled when its client leaves, "
    "every run comes back at every load of the map."
)

# %% [markdown]
# ## How long must an outage be?
#
# Not long. What counts is whether the queue outgrows the clients' patience once; after that the mesh keeps itself
# down.

# %%
lengths_s = (3, 6, 10, 30)
back = {}
for length_s in lengths_s:
    struck = Experiment.of(experiment.scenario.override({"faults": [{**outage, "for_s": length_s}]}))
    told = [attempt(observe, struck, policies[1:2], trial, never) for trial in trials(struck, (LOAD,), RUNS)]
    back[length_s] = sum(one.disturbed["scheduled"].healthy for one in told)
pd.DataFrame({f"runs that come back, of {RUNS}": back}).rename_axis("outage (s)").T

# %% [markdown]
# ## Two states at one load
#
# Now no outage at all: the load itself rises, slowly, beyond what the slots can do, and falls again as slowly. A
# mesh without memory would go back the way it came. This one does not: it breaks at one load and heals at another,
# and between the two its past decides. That is *hysteresis*, and the reason why "we are below the load at which it
# broke" is no reason to expect it back.

# %%
up_and_down = tuple(
    Ramp.of(name, observe(experiment.ramp(POLICIES[name], written.seed), experiment.ramp_s, never), experiment)
    for name in ("scheduled", "budget")
)
plain_way, limited_way = up_and_down
loop = figures_metastability.ramps(up_and_down)
teaching.stated(
    loop,
    f"Plain retries break at load {plain_way.falls_at:g} and heal only at {plain_way.returns_at:g}; "
    f"with a budget the mesh breaks at {limited_way.falls_at:g} and is back at {limited_way.returns_at:g}",
)
assert plain_way.returns_at < plain_way.falls_at / 2 < limited_way.returns_at
assert plain_way.returns_at < LOAD < plain_way.falls_at, "the load of the first picture lies between the two"
loop.update_layout(margin={"t": 130, "b": 56}, legend_y=1.1)

# %% [markdown]
# Above the grey line a mesh catches up on retries that were still waiting. The plain one comes back near 1/A, as the
# arithmetic said, and not before.

# %% [markdown]
# ## Change one number
#
# - `LOAD = 0.15`: below 1/A. The mesh comes back by itself.
# - `OUTAGE_S = 4`: nothing of it is left a minute later.
# - `"kind": "redis_restart", "down_s": 5` in place of the outage: another trigger, the same trap. The trap is in the
#   rules, not in the fault.
# - The real thing: `meshlab run scenarios/metastable.yaml --engine live` takes three minutes. The whole study, with
#   twelve seeds a cell, is `meshlab metastability scenarios/metastable.yaml --out map.html`.
#
# **Further reading.** N. Bronson, A. Aghayev, A. Charapko, T. Zhu, *Metastable failures in distributed systems*,
# HotOS 2021. M. Brooker, *Metastability and distributed systems* (2021) and *Fixing retries with token buckets and
# circuit breakers* (2022), his blog.
