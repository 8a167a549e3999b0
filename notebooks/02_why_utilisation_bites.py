# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How busy may a fleet be?
#
# As busy as its size allows, and never nearly 100 %. The wait does not grow with the utilisation; it grows with one
# over what is *left*: from 50 % to 75 % busy next to nothing happens, from 90 % to 95 % the wait more than doubles.
# The more slots share one queue, the later it bites.
#
# Three witnesses say so below, on one picture: Erlang's formula of 1917, the model, and a real mesh.

# %%
import numpy as np

from lab import Scenario, metrics, replicate, teaching
from lab.queueing import MMc
from live_backend import run_live
from simulation import simulate

# %% tags=["parameters"]
WORKERS, SLOTS = 2, 8
SERVICE_S = 0.1  # mean work of a task; its spread is exponential
STEPS, STEP_S, PAUSE_S = (0.5, 0.75, 0.9), 4.0, 0.5  # what the real mesh gets: so busy, for so long, and a rest

# %% [markdown]
# ## Theory
#
# Tasks come at random (Poisson), work is random (exponential), all slots serve one queue: an M/M/c. Erlang's formula
# gives the mean wait.

# %%
servers = WORKERS * SLOTS
capacity_per_s = servers / SERVICE_S


def erlang_wait_s(busy: float, work_s: float = SERVICE_S) -> float:
    """Mean wait where tasks come so often that the planned work alone keeps this share of the slots busy."""
    return MMc(busy * capacity_per_s, work_s, servers).mean_wait_s


more_than_twice = erlang_wait_s(0.95) / erlang_wait_s(0.90)
next_to_nothing_s = erlang_wait_s(0.75) - erlang_wait_s(0.50)
assert more_than_twice > 2 and next_to_nothing_s < 0.1 * SERVICE_S
print(f"50 % → 75 %: {next_to_nothing_s * 1000:+.1f} ms.  90 % → 95 %: ×{more_than_twice:.1f}")

# %% [markdown]
# ## Model
#
# The same mesh in the model, six runs with six seeds for each load, so that every figure has its 95 % interval. The
# busier, the longer a run must be: a queue that hardly ever empties is slow to forget how it began. And the model
# knows what Erlang did not: to fetch, claim and commit a task takes some time as well.

# %%
poisson = Scenario.parse(f"""
workload:
  arrivals: {{kind: poisson, rate_per_s: 1, count: 1}}
  roles: {{AGENT: {{service: {{dist: exponential, mean_s: {SERVICE_S}}}}}}}
mesh: {{workers: {WORKERS}, slots: {SLOTS}}}
""")
loads = (0.3, 0.5, 0.7, 0.8, 0.85, 0.9)


def at(busy: float):
    """The scenario at that load, the longer the busier."""
    return poisson.override(
        {"workload.arrivals.rate_per_s": busy * capacity_per_s, "workload.arrivals.count": round(1000 / (1 - busy))}
    )


found = [replicate.run(simulate, at(busy), 6, cores=1) for busy in loads]
waits_s = [runs.summary["queue_wait_s"] for runs in found]
machinery_ms = found[0].summary["overhead_s"]["mean"] * 1000
print(f"at {loads[0]:.0%}, where hardly anybody queues, the machinery takes {machinery_ms:.1f} ms a task")

# %% [markdown]
# ## Live
#
# One run on real servers: a few seconds at each of three loads, with a rest after each. That is a small sample and no
# steady state. So the model runs those very tasks, too: what luck does to the one, it does to the other.

# %%
steps = [
    step
    for busy in STEPS
    for step in ({"duration_s": STEP_S, "rate_per_s": busy * capacity_per_s}, {"duration_s": PAUSE_S, "rate_per_s": 0})
]
stairs = poisson.override({"workload.arrivals": {"kind": "steps", "spacing": "poisson", "steps": steps}})
live, twin = run_live(stairs), simulate(stairs)

step = (live.tasks["arrival_s"] // (STEP_S + PAUSE_S)).astype(int)
live_s, twin_s = (metrics.seconds(record.tasks, "queue_wait_s") for record in (live, twin))
live_ms, twin_ms = (
    [1000 * seconds[step == number].mean() for number in range(len(STEPS))] for seconds in (live_s, twin_s)
)
together = float(np.corrcoef(live_s, twin_s)[0, 1])
print(f"{len(live_s):,} tasks; their waits live and in the model go together: correlation {together:.3f}")

# %% [markdown]
# ## All three on one plot

# %%
grid = np.linspace(0.05, 0.965, 200)
theory_ms = np.array([erlang_wait_s(busy) * 1000 for busy in grid])
calm_ms, hot_ms = (waits_s[loads.index(busy)]["mean"] * 1000 for busy in (0.7, 0.9))

knee = teaching.chart(
    f"At 70 % busy a task waits {calm_ms:.0f} ms, at 90 % {hot_ms:.0f} ms: "
    f"a little more load, {hot_ms / calm_ms:.0f} times the wait",
    "Planned work, share of all slots",
    "Mean wait in the queue (ms)",
    xaxis={"tickformat": ".0%", "range": (0, 1)},
    yaxis={"range": (0, 160)},
)
teaching.line(knee, grid, theory_ms, f"theory: M/M/{servers}", teaching.THEORY_COLOUR)
teaching.points(
    knee,
    loads,
    [wait["mean"] * 1000 for wait in waits_s],
    "model, 95 % interval",
    teaching.MODEL_COLOUR,
    ci95=[(low * 1000, high * 1000) for low, high in (wait["mean_ci95"] for wait in waits_s)],
)
teaching.points(knee, STEPS, live_ms, f"live, {STEP_S:g} s each", teaching.LIVE_COLOUR, "diamond")
teaching.points(knee, STEPS, twin_ms, f"model of the same {STEP_S:g} s", teaching.MODEL_COLOUR, "diamond-open")
knee.data[-1].marker.update(size=17, line={"width": 2})  # around the live ones, or it would hide behind them
assert not live.info["checks"]["failed"], live.info["checks"]["failed"]
assert live_ms[2] > 3 * live_ms[0] and twin_ms[2] > 3 * twin_ms[0]
assert hot_ms > 4 * calm_ms and together > 0.5
knee

# %% [markdown]
# The model lies above Erlang's curve by what the machinery takes. That is little on the left and much on the right: a
# slot that is held a little longer is a fleet that is a little busier, and near the edge a little is much.

# %%
as_if = float(np.interp(hot_ms, theory_ms, grid))
assert 0.89 < as_if < 0.965, "a machine this slow is beyond the picture: give SERVICE_S more"
print(
    f"{machinery_ms:.1f} ms of machinery for {SERVICE_S * 1000:.0f} ms of work: "
    f"planned 90 % feel like Erlang's {100 * as_if:.1f} %"
)

# %% [markdown]
# ## So, how busy?
#
# Say a task may wait, on average, for half as long as it works. How busy may the fleet be then? For one slot the
# formula is ρ / (1 − ρ) = ½, so a third. For more slots it is better, because nobody queues while any slot is free.
# Beside each point stands what the model, with free machinery, makes a task wait there.

# %%
sizes = (1, 2, 4, 8, 16, 32)
shares = np.linspace(0.05, 0.995, 400)
allowed = [
    float(np.interp(0.5, [MMc(share * size, 1.0, size).mean_wait_s for share in shares], shares)) for size in sizes
]
pooled = poisson.override({"profile": "ideal", "workload.roles.AGENT.service.mean_s": 1.0, "mesh.workers": 1})
checked = [
    simulate(
        pooled.override(
            {"mesh.slots": size, "workload.arrivals.rate_per_s": share * size, "workload.arrivals.count": 20_000}
        )
    ).info["summary"]["queue_wait_s"]["mean"]
    for size, share in zip(sizes, allowed, strict=True)
]

size_matters = teaching.chart(
    f"For the same wait one slot may be {allowed[0] * 100:.0f} % busy, 8 slots {allowed[3] * 100:.0f} %, "
    f"32 slots {allowed[-1] * 100:.0f} %",
    "Slots that share one queue",
    "Utilisation at which a task waits half its work",
    xaxis={"type": "log", "tickvals": sizes, "range": (-0.12, 1.8)},
    yaxis={"tickformat": ".0%", "range": (0, 1.05)},
)
teaching.points(size_matters, sizes, allowed, "theory: M/M/c", teaching.THEORY_COLOUR)
words = [f"{wait_s:.2f} of the work" for wait_s in checked]
size_matters.data[0].update(mode="lines+markers+text", text=words, textposition="bottom right")
assert abs(allowed[0] - 1 / 3) < 0.001 and allowed == sorted(allowed)
assert all(0.4 < wait_s < 0.6 for wait_s in checked), checked
assert allowed[1] < 0.7 < allowed[3]
size_matters

# %% [markdown]
# A target such as "70 % busy" is therefore no law of nature: it is wasteful for 32 slots and reckless for two.
#
# ## Change one number
#
# - `SERVICE_S = 0.05`: the same load in tasks half as long. Why does the model leave the theory behind so early?
# - `WORKERS = 4`: where is the knee now?
# - In the last cell, ask for a wait of a tenth of the work instead of `0.5`.
#
# ## Further reading
#
# - A. K. Erlang, "Solution of some problems in the theory of probabilities of significance in automatic telephone
#   exchanges", *The Post Office Electrical Engineers' Journal* 10, 1917.
# - L. Kleinrock, *Queueing Systems*, volume I, 1975, section 3.5.
