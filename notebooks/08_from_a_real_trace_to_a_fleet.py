# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How many workers does this trace need?
#
# Several times as many as its mean rate suggests, and they will be idle most of the time. Real requests come in
# clumps; a fleet is sized by its worst minutes. Fit a Poisson process to the same requests, and it would have you buy
# a fraction of that fleet. The fit says itself how bad it is, and the replay says which of its faults costs you.

# %%
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from lab import Scenario, compare, fitting_arrivals, fitting_service, teaching
from lab.demand import demand
from lab.planning import Candidates, Objectives, plan
from live_backend import run_live
from simulation import simulate

# %% tags=["parameters"]
WAIT_S = 1.0  # 99 of 100 requests shall wait at most so long for a slot
SLOTS = 8  # in each worker
WORKERS = range(1, 9)
SPEED = 10  # how much faster the busiest minute is replayed on real servers

# %% [markdown]
# ## An hour of a coding assistant
#
# The trace is public: Azure's requests to a code model in 2023, with the number of tokens that each generated. A token
# is taken for 40 ms of work.

# %%
trace = Scenario.load("../scenarios/azure_code_trace.yaml").override({"mesh.slots": SLOTS})
known = demand(trace).traced
rate_per_s, count = known.per_s, len(known.arrival_s)
work_s = known.service_s.mean()
busy = rate_per_s * work_s
assert trace.workload.arrivals.service_factor == 0.04
print(
    f"{count:,} requests in {known.arrival_s[-1] / 60:.0f} minutes: {rate_per_s:.2f} a second of {work_s:.2f} s of work"
)
print(f"so {busy:.2f} slots are busy on average: one worker of {SLOTS} would be at {busy / SLOTS:.0%}")

# %% [markdown]
# ## A fit, and how bad it is
#
# What one would do: fit a rate to the arrivals and a distribution to the work. Both fits are judged by those who made
# them. (`meshlab fit` does it to records of your own queue, and keeps what cannot be fitted as it was.)

# %%
came, worked = fitting_arrivals.fit(known.arrival_s), fitting_service.fit("CODER", known.service_s)
nearest = worked.best
assert came.gaps_cv2 > 10 and came.p < 0.01 and not worked.good, "neither fit is good, and both say so"
print(f"arrivals: {came.words}")
print(f"work: {worked.words}")

# %%
minute_s = 60
edges_s = np.arange(0, known.arrival_s[-1] + minute_s, minute_s)
real = np.histogram(known.arrival_s, edges_s)[0]
random = np.histogram(np.random.default_rng(trace.seed).uniform(0, known.arrival_s[-1], count), edges_s)[0]
figure = teaching.chart(
    f"The busiest minute has {real.max()} requests, where chance alone would make it {random.max()}; "
    f"{(real == 0).sum()} minutes have none",
    "Time since the first request (min)",
    "Requests in the minute",
)
minutes = np.arange(len(real))
figure.add_bar(x=minutes, y=real, name="trace", marker_color=teaching.LIVE_COLOUR)
teaching.line(figure, minutes, random, "Poisson, the same mean", teaching.MODEL_COLOUR, line_shape="hvh")
figure.update_layout(bargap=0.1)

# %% [markdown]
# ## The fleet that each of them needs
#
# What counts is the wait for a slot; the work takes as long as it takes. `lab.planning` looks for the cheapest fleet
# that meets the objective by bisection over the model: it need not try them all. Then it lets the same hour come
# faster and faster until the objective breaks. Beside it the two fits, each alone: the trace's arrivals with fitted
# work, and fitted arrivals with the trace's work. Tasks of a second hardly notice the machinery (notebook 7), so the
# search leaves it out, which is four times as fast; the answer is then asked with it.

# %%
bare = trace.override({"profile": "ideal"})
objective, candidates = Objectives(queue_wait_p99_s=WAIT_S), Candidates(workers=WORKERS, slots=(SLOTS,))
answer = plan(simulate, bare, objective, candidates, replications=1, cores=1)
needs = answer.winner.candidate.workers
print(f"the trace: {needs} workers; looked at {len(answer.measured)} of {len(WORKERS)} fleets; {answer.margin.words}")

arrivals, role = trace.workload.arrivals, "workload.roles.CODER.service"
tokens = {"path": arrivals.path, "column": "num_decode_tokens", "factor": arrivals.service_factor}
poisson = {"kind": "poisson", "rate_per_s": came.rate_per_s, "count": count}
fits = {
    "fitted work": bare.override(
        {"workload.arrivals.columns": {"arrival_s": "arrived_at"}, role: nearest.service.model_dump(mode="json")}
    ),
    "fitted arrivals": bare.override({"workload.arrivals": poisson, role: {"dist": "empirical", **tokens}}),
}


def p99_s(scenario, workers: int) -> float:
    """The wait for a slot that one request in a hundred exceeds."""
    return simulate(scenario.override({"mesh.workers": workers})).info["summary"]["queue_wait_s"]["p99"]


seen = {"trace": answer.table().set_index("workers")["queue_wait_p99"].sort_index()}
seen |= {name: pd.Series({size: p99_s(fit, size) for size in range(1, needs + 2)}) for name, fit in fits.items()}
least = {name: int(waits.index[waits <= WAIT_S].min()) for name, waits in seen.items()}
with_machinery_s = p99_s(trace, needs)
assert least["trace"] == needs > 2 * least["fitted arrivals"] and abs(least["fitted work"] - needs) <= 1
assert abs(with_machinery_s - seen["trace"][needs]) < 0.1 * WAIT_S
print(f"p99 wait on {needs} workers: {seen['trace'][needs]:.2f} s, with machinery {with_machinery_s:.2f} s")

# %%
idle = 1 - busy / (needs * SLOTS)
figure = teaching.chart(
    f"The trace needs {needs} workers, {idle:.0%} idle on average; with fitted work it is {least['fitted work']}, "
    f"with fitted arrivals {least['fitted arrivals']}",
    f"Workers (of {SLOTS} slots each)",
    "p99 wait for a slot (s), 1 ms at least",
    yaxis={"type": "log", "tickvals": (0.001, 0.01, 0.1, 1, 10, 100)},
)
looks = {
    "trace": ("the trace", teaching.LIVE_COLOUR, "diamond"),
    "fitted work": ("its arrivals, fitted work", teaching.COLOURS[0], "square-open"),
    "fitted arrivals": ("fitted (Poisson) arrivals, its work", teaching.MODEL_COLOUR, "circle"),
}
for name, look in looks.items():
    teaching.points(figure, seen[name].index, seen[name].clip(lower=0.001), *look)
    figure.data[-1].update(mode="lines+markers")
teaching.line(figure, WORKERS, [WAIT_S] * len(WORKERS), f"objective: {WAIT_S:g} s", teaching.THEORY_COLOUR, "dot")
figure

# %% [markdown]
# So of two bad fits one costs nothing and the other the fleet: the shape of the work hardly matters here, the clumps
# are all. No formula of the mean rate sees them, and neither does a load test at a constant or a random rate: a single
# worker looks idle, and lets people wait for most of a minute.
#
# ## What an hour is worth
#
# The margin is what one hour says. Nothing in a trace is random: run it again and it comes out the same, which proves
# nothing. Cut the hour in four and ask each quarter; so much may the next hour differ from this one.

# %%
hour = simulate(trace.override({"mesh.workers": needs})).tasks
quarter = (4 * hour["arrival_s"] / (hour["arrival_s"].max() + 1)).astype(int) + 1
wait_s = hour["first_claim_s"] - hour["arrival_s"]
requests, p99_s = wait_s.groupby(quarter).size(), wait_s.groupby(quarter).quantile(0.99)
quarters = pd.DataFrame({"requests": requests, "p99 wait (s)": p99_s})
assert quarters["p99 wait (s)"].max() > 10 * quarters["p99 wait (s)"].min()
assert busy / SLOTS < 0.5 and seen["trace"][1] > 30, "one worker looks idle, and lets people wait"
quarters.rename_axis("quarter").round(3)

# %% [markdown]
# ## The busiest minute, on real servers
#
# The model's hour took a second; the real hour would take an hour. The busiest minute is enough, played faster:
# arrivals and work both, so that the load is the same. (Memory does not fill any faster, so that is left out.)

# %%
start_s = minute_s * int(real.argmax())
busiest = pd.DataFrame({"arrival_s": known.arrival_s - start_s, "service_s": known.service_s})
busiest = busiest[busiest["arrival_s"].between(0, minute_s, inclusive="left")]
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "busiest_minute.csv"
    busiest.to_csv(path, index=False)
    faster = {"kind": "trace", "path": str(path), "time_factor": 1 / SPEED, "service_factor": 1 / SPEED}
    minute = trace.override({"workload.arrivals": faster, "workload.roles.CODER.memory_mib": 0, "mesh.workers": needs})
    both = compare(simulate(minute), run_live(minute))
wait, paired = both.data["queue_wait_s"]["p99"], both.data["paired"]
assert both.second.info["checks"]["ok"] and paired["correlation"] > 0.8
print(
    f"{len(busiest)} requests on {needs} workers: p99 wait {wait['sim']:.2f} s in the model, {wait['live']:.2f} s live"
)
print(f"times {SPEED} for the trace's own pace; correlation of latency, task by task: {paired['correlation']:.3f}")

# %% [markdown]
# ## Change one number
#
# - `WAIT_S = 0.1`: how many workers does the next tenth of a second cost? And `WAIT_S = 5`?
# - `SLOTS = 16`: half as many workers, or not?
# - `trace.override({"rules.admission": {"max_pending": 40, "on_closed": "reject"}})`: let some go instead of buying
#   for the worst minute.
# - Your own trace: a CSV with `arrival_s` and `service_s`, and `meshlab plan your.yaml --queue-wait-p99 1`.
