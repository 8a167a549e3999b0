# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Who pays for strict priority?
#
# The lowest class, and it pays for everything: priorities save no time, they only hand it on. While the fleet keeps
# up, that is a fair bargain. As soon as the classes above need all slots, the lowest is not served late but *not at
# all*, and only the order of service decides whether that is what happens.

# %%
import pandas as pd

from lab import Scenario, metrics, teaching
from lab.queueing import MMc, cobham_s
from lab.rules.priority import QUEUES
from live_backend import run_live
from simulation import simulate

# %% tags=["parameters"]
SHARES = {"high": 0.5, "medium": 0.3, "low": 0.2}  # of the tasks
OVERLOAD, OVERLOAD_S = 1.3, 5.0  # so much more than the slots can do, for so long
AGING_S = 1.0  # in aging order: waiting so long counts as one class higher

# %%
SLOTS, SERVICE_S = 16, 0.1
capacity_per_s = SLOTS / SERVICE_S
steady = Scenario.parse(f"""
workload:
  arrivals: {{kind: poisson, rate_per_s: {0.9 * capacity_per_s}, count: 20000}}
  roles:
    AGENT:
      priority: {{4: {SHARES["high"]}, 2: {SHARES["medium"]}, 1: {SHARES["low"]}}}
      service: {{dist: exponential, mean_s: {SERVICE_S}}}
mesh: {{workers: 2, slots: {SLOTS // 2}}}
profile: ideal
""")
ORDERS = {
    "strict": {},
    "weighted 6:3:1": {"rules.priority.order": "weighted"},
    f"aging {AGING_S:g} s": {"rules.priority.order": "aging", "rules.priority.aging_s": AGING_S},
}


def waits_ms(record, point: str = "mean") -> list[float]:
    """Wait by class, the highest first, in ms."""
    return [1000 * record.info["summary"]["by_queue"][queue]["queue_wait_s"][point] for queue in QUEUES]


# %% [markdown]
# ## While the fleet keeps up
#
# Cobham's formula of 1954 gives the mean wait of each class under strict order; the model, with free machinery, has
# to agree: lines are theory, marks the model. The dotted line is the same fleet without any classes.

# %%
loads = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
strict = [simulate(steady.override({"workload.arrivals.rate_per_s": load * capacity_per_s})) for load in loads]
by_class = [
    [
        1000 * wait_s
        for wait_s in cobham_s([share * load * capacity_per_s for share in SHARES.values()], SERVICE_S, SLOTS)
    ]
    for load in loads
]
nobody_first = [1000 * MMc(load * capacity_per_s, SERVICE_S, SLOTS).mean_wait_s for load in loads]
at_90 = loads.index(0.9)
high_ms, _, low_ms = by_class[at_90]

classes = teaching.chart(
    f"At 90 % load high waits {high_ms:.0f} ms instead of {nobody_first[at_90]:.0f}, and low waits {low_ms:.0f}",
    "Load, share of all slots",
    "Mean wait (ms), logarithmic",
    xaxis_tickformat=".0%",
    yaxis={"type": "log", "tickvals": (0.1, 1, 10, 100, 1000), "ticktext": ("0.1", "1", "10", "100", "1,000")},
)
teaching.line(classes, loads, nobody_first, "no classes (M/M/16)", teaching.THEORY_COLOUR, "dot")
for number, (name, colour, symbol) in enumerate(
    zip(SHARES, teaching.COLOURS, ("circle", "square", "diamond"), strict=False)
):
    law = [waits[number] for waits in by_class]
    teaching.line(classes, loads, law, name, colour, legendgroup=name)
    marks = {"legendgroup": name, "showlegend": False}
    teaching.points(classes, loads, [waits_ms(run)[number] for run in strict], name, colour, symbol, **marks)
for law, found in zip(by_class[2:], strict[2:], strict=True):
    assert all(abs(ours / theirs - 1) < 0.25 for ours, theirs in zip(waits_ms(found), law, strict=True))
classes

# %% [markdown]
# ## No order saves time
#
# The same 20,000 tasks at 90 % in three orders of service. The classes wait for different times; the mean over all
# tasks does not move. (Kleinrock's conservation law: while no slot idles beside a queue and the order does not look
# at how long the work is, the order can only redistribute.)

# %%
rows = {}
for order, values in ORDERS.items():
    run = simulate(steady.override(values))
    rows[order] = {
        **dict(zip(SHARES, waits_ms(run), strict=True)),
        "all tasks": 1000 * run.info["summary"]["queue_wait_s"]["mean"],
    }
kept = pd.DataFrame(rows).T.rename_axis("mean wait (ms) at 90 % load")
assert kept["all tasks"].max() / kept["all tasks"].min() < 1.03
kept.style.format("{:.1f}")

# %% [markdown]
# ## When it does not keep up
#
# Now more than the slots can do, for some seconds. High and medium alone need all slots and more. The real mesh gets
# the same in strict order.

# %%
overload = steady.override(
    {
        "profile": "default",
        "workload.arrivals": {"kind": "poisson", "rate_per_s": OVERLOAD * capacity_per_s, "duration_s": OVERLOAD_S},
    }
)
runs = {order: simulate(overload.override(values)) for order, values in ORDERS.items()}
live = run_live(overload)
longest_s = {order: [wait / 1000 for wait in waits_ms(run, "max")] for order, run in runs.items()}
aging = list(ORDERS)[-1]

starved = teaching.chart(
    f"In strict order low waits up to {longest_s['strict'][2]:.1f} s; "
    f"with aging {longest_s[aging][2]:.1f} s, "
    f"and high {longest_s[aging][0]:.1f} s instead of {longest_s['strict'][0]:.1f} s",
    "Arrival of a task of the class low (s)",
    "Its wait in the queue (s)",
)
looks = [
    ("strict, live", live, teaching.LIVE_COLOUR, "solid"),
    ("strict, model", runs["strict"], teaching.MODEL_COLOUR, "dash"),
    *(
        (f"{order}, model", runs[order], colour, "solid")
        for order, colour in zip(list(ORDERS)[1:], teaching.COLOURS, strict=False)
    ),
]
for name, run, colour, dash in looks:
    low = run.tasks["queue"] == QUEUES[2]
    teaching.line(
        starved, run.tasks.loc[low, "arrival_s"], metrics.seconds(run.tasks, "queue_wait_s")[low], name, colour, dash
    )
assert SHARES["high"] + SHARES["medium"] > 1 / OVERLOAD
assert not live.info["checks"]["failed"], live.info["checks"]["failed"]
starved


# %%
def low_served(run) -> float:
    """Share of the low tasks of the overload's second half that began before it was over."""
    low = run.tasks[(run.tasks["queue"] == QUEUES[2]) & (run.tasks["arrival_s"] > OVERLOAD_S / 2)]
    return float((low["first_claim_s"] < OVERLOAD_S).mean())


everyone = {"strict": runs["strict"], "strict, live": live, **{order: runs[order] for order in list(ORDERS)[1:]}}
rows = {
    order: {
        **{f"{name}: longest wait (s)": wait / 1000 for name, wait in zip(SHARES, waits_ms(run, "max"), strict=True)},
        "late low tasks served while it lasted (%)": 100 * low_served(run),
    }
    for order, run in everyone.items()
}
assert longest_s["strict"][2] > 0.8 * OVERLOAD_S and waits_ms(live, "max")[2] > 0.8 * 1000 * OVERLOAD_S
assert longest_s[aging][2] < longest_s["strict"][2] / 2
assert 0.8 < longest_s[aging][0] / AGING_S < 1.6
assert low_served(runs["strict"]) < 0.05 and low_served(runs[aging]) > 0.1
pd.DataFrame(rows).T.style.format("{:.2f}").format("{:.0f}", subset="late low tasks served while it lasted (%)")

# %% [markdown]
# Read it by the rows. **Strict** protects high almost perfectly, and the first low task that meets a queue waits until
# the whole storm has passed. **Weighted** serves low one time in ten, so its queue moves from the beginning. **Aging**
# makes a class worth `AGING_S` of waiting and not a second more: in an overload everybody ends up waiting, high about
# `AGING_S`, the classes below about as much longer. There is no order without a payer; there is only the choice of who
# it is, and for how long.
#
# ## Change one number
#
# - `OVERLOAD = 1.1`: high and medium leave some slots over. Does low still starve?
# - `AGING_S = 30.0`, the default: why does nothing age in so short a run?
# - `SHARES = {"high": 0.2, "medium": 0.3, "low": 0.5}`: who needs a fair order now?
#
# ## Further reading
#
# - A. Cobham, "Priority assignment in waiting line problems", *Operations Research* 2, 1954.
# - L. Kleinrock, *Queueing Systems*, volume II, 1976, chapter 3.
