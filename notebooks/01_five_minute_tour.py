# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What does a burst of 500 tasks do to a mesh, and can a model tell beforehand?
#
# It builds a queue that drains at the pace of the slots, not a bit faster, and the low classes pay for it. And yes:
# the model tells it beforehand, not only on average but task by task.
#
# A *mesh* is a few worker processes, each with slots for concurrent tasks, in front of three queues. A published one
# promised that a burst of 500 drains "in seconds". Let us see.

# %%
import numpy as np

from lab import Scenario, compare, figures, metrics, teaching
from live_backend import run_live
from simulation import simulate

# %% tags=["parameters"]
TASKS = 500
WORKERS, SLOTS = 3, 8  # of the run on real servers; 24 slots keep it short

# %% [markdown]
# ## First, arithmetic
#
# The published mesh: 500 tasks of 2 s on 3 workers × 5 slots. That is ⌈500 / 15⌉ = 34 rounds of 2 s. No queue, no
# database and no clever code can make it less than 68 s, and the model, whose machinery costs nothing here, needs
# exactly that. Strict priority decides who waits: the last high task starts when the medium ones may begin.

# %%
published = simulate(Scenario.load("../scenarios/sdlc_stress_500.yaml"))
last_start_s = published.tasks.groupby("queue", observed=True)["first_claim_s"].max()

assert published.info["summary"]["makespan_s"] == 34 * 2.0 == 68.0
assert last_start_s.tolist() == [38.0, 52.0, 66.0]
print(f"{published.info['wall_s'] * 1000:.0f} ms of computing for {metrics.end_s(published):.0f} s of mesh")
last_start_s.rename("last task of the class starts after (s)").to_frame()

# %% [markdown]
# ## Then, the same burst twice
#
# Now with shorter work that varies, and with failures: one attempt in twenty fails and is retried. Once in the model,
# once on a real Redis and PostgreSQL with real worker processes. **One plan**: both engines get the very same 500
# tasks, each with the same work and the same bad luck. **One rulebook**: both ask the same functions who is next and
# when to retry. So whatever differs is neither chance nor a different rule.

# %%
burst = Scenario.load("../scenarios/sdlc_quick.yaml").override(
    {"workload.arrivals.count": TASKS, "mesh.workers": WORKERS, "mesh.slots": SLOTS}
)
model = simulate(burst)
live = run_live(burst)
both = compare(model, live)
drain = both.data["makespan_s"]
print(f"the model said {drain['sim']:.2f} s, the real mesh took {drain['live']:.2f} s: off by {drain['error']:+.1%}")

# %%
depth = figures.queue_depth([model, live], ["Model", "Live"])
finding = f"{TASKS} tasks drain in {drain['live']:.1f} s; the model had said {drain['sim']:.1f} s"
teaching.stated(depth, finding).update_layout(height=380)

# %% [markdown]
# ## Task by task
#
# Averages agree easily. Here every dot is one task: across what the model said of it, up what happened to it. The
# colours come one after the other because the classes do: high is served first, low last. A cross is a task that
# failed and was retried; the model knew which those would be.

# %%
paired = both.data["paired"]
said_s, took_s = (metrics.latency_s(record.tasks) for record in (model, live))
diagonal = teaching.chart(
    f"Half of the tasks end within {np.median(abs(said_s - took_s)):.2f} s of what the model said of them; "
    f"the correlation is {paired['correlation']:.3f}",
    "Latency in the model (s)",
    "Latency on real servers (s)",
)
for queue, colour in zip(("agent_high", "agent_medium", "agent_low"), teaching.COLOURS, strict=False):
    mine = (model.tasks["queue"] == queue).to_numpy()
    teaching.points(diagonal, said_s[mine], took_s[mine], queue.removeprefix("agent_"), colour)
failed = (live.tasks["attempts"] > 1).to_numpy()
teaching.points(diagonal, said_s[failed], took_s[failed], "failed and retried", teaching.THEORY_COLOUR, "x-thin-open")
teaching.line(diagonal, (0, drain["sim"]), (0, drain["sim"]), "exact agreement", teaching.THEORY_COLOUR, "dot")
diagonal

# %% [markdown]
# That is the claim of this lab, so it is asserted: every task ends in the same state after as many attempts, nothing
# is lost or done twice, and the times go together. On a machine with nothing else to do the drain time is right to a
# few per cent; a busy one takes its time from the workers, so a notebook that may run anywhere asserts less of it.

# %%
assert not live.info["checks"]["failed"] and not model.info["checks"]["failed"]
assert model.tasks["state"].equals(live.tasks["state"])
assert model.tasks["attempts"].equals(live.tasks["attempts"])
assert paired["correlation"] > 0.98
assert abs(drain["error"]) < 0.3

# %% [markdown]
# ## Now ask what you could not try
#
# A model that is right about the mesh that you have may be asked about meshes that you do not have. A burst twenty
# times as large, on fleets of up to 32 workers × 32 slots: does a fleet twice as large drain it in half the time?
# Asked twice: on a machine such as the one that the model was measured on, and with machinery that costs nothing
# (`profile: ideal`), as if every worker had a machine to itself.

# %%
huge = burst.override({"workload.arrivals.count": 20 * TASKS, "mesh.slots": 32})
fleets = (2, 4, 8, 16, 32)
here, free = (
    [simulate(huge.override({"mesh.workers": workers, "profile": profile})) for workers in fleets]
    for profile in ("default", "ideal")
)
here_s, free_s = ([metrics.end_s(run) for run in runs] for runs in (here, free))
larger, faster = fleets[-1] / fleets[0], free_s[0] / free_s[-1]
enough = next(workers for workers, drain_s in zip(fleets, here_s, strict=True) if drain_s < 1.1 * min(here_s))
stragglers = 1 - free[-1].tasks["done_s"].quantile(0.99) / free_s[-1]

scaling = teaching.chart(
    f"On one machine {enough} workers drain it as fast as any; with free machinery {larger:.0f} times the workers "
    f"are {faster:.0f} times as fast",
    "Workers (of 32 slots each)",
    f"Time to drain {20 * TASKS:,} tasks (s)",
    xaxis={"type": "log", "tickvals": fleets},
    yaxis={"type": "log", "tickvals": (2, 5, 10, 20, 50, 100)},
)
halved = [free_s[0] * fleets[0] / workers for workers in fleets]
teaching.line(scaling, fleets, halved, "half the time for twice the workers", teaching.THEORY_COLOUR, "dot")
teaching.points(scaling, fleets, free_s, "model, free machinery", teaching.COLOURS[0], "diamond")
teaching.points(scaling, fleets, here_s, "model, one machine as measured", teaching.MODEL_COLOUR)
assert faster < 0.95 * larger and stragglers > 0.1
assert all(measured_s >= 0.99 * ideal_s for measured_s, ideal_s in zip(here_s, free_s, strict=True))
print(f"free machinery, {fleets[-1]} workers: {100 * stragglers:.0f} % of the time goes to the last 1 % of the tasks")
scaling

# %% [markdown]
# Where the upper points leave the line, workers share cores: every task costs a little of them, in the worker and in
# the database, and more workers only queue for it. What bends the lower points away is the end: the longest task and
# the unluckiest one (some failures, some backoffs) run on alone, and no worker that you add can help them.
#
# ## Change one number
#
# - `SLOTS = 16`: does the real mesh drain twice as fast? Does the model still know?
# - `burst.override({"rules.retry.wait": "in_slot"})`: the slot sleeps while a failed task waits. Notebook 3 asks what
#   that costs.
# - `burst.override({"faults": [{"at_s": 2, "kind": "kill_worker", "worker": 0}]})`: kill a worker in the middle of
#   it. Nothing is lost; what is late, and by how much?
