# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How far may I trust the model of this machine?
#
# As far as you have tested it, on this machine, beside its own noise. Where tasks wait for slots the model need
# hardly know your machine; where tasks are short it is as good as its profile, the measured costs of the machinery.
# And "no significant difference" is no test: a noisy measurement never finds one. Ask instead whether it is shown to
# be close.

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown

from lab import Scenario, metrics, profile, teaching, twin
from lab.equivalence import of_ratios
from lab.twin_matrix import Case
from live_backend import run_live
from simulation import simulate

# %% tags=["parameters"]
REPEATS = 3  # live runs of each scenario: the least that shows a spread
SHORT_S, LONG_S = 0.01, 0.25  # mean work of a task in the two scenarios
PATHS = ("throughput_per_s", "latency_s.p50", "latency_s.p95")

# %% [markdown]
# ## What the model knows of a machine
#
# A profile: what each step of a task's way costs, in parts, because they are spent in different places. `meshlab
# calibrate` measures yours in two minutes, and from then on every scenario with `profile: default` uses it. Until
# then `default` is the profile that ships, of a machine that is not yours. This notebook takes whichever there is.

# %%
costs = profile.load("default")
steps = {name: value for name, value in costs if isinstance(value, profile.Cost) and value.alone_s}
parts = {
    "event loop": [1000 * (one.loop_s + one.loop_task_s) for one in steps.values()],
    "database": [1000 * (one.database_s + one.database_task_s) for one in steps.values()],
}
alone_ms = [1000 * one.alone_s for one in steps.values()]
busy_ms = np.sum(list(parts.values()), axis=0)
parts["waiting: the disk, the network, a timer"] = alone_ms - busy_ms
way = [name != "due" for name in steps]  # due is a retry's, and most tasks have none
own_ms, waited = np.sum(alone_ms, where=way), 1 - np.sum(busy_ms, where=way) / np.sum(alone_ms, where=way)
figure = teaching.chart(
    f"A task that meets no other costs {own_ms:.1f} ms of machinery; {waited:.0%} of that is waiting",
    "Time for one task alone (ms)",
    "Step of its way",
)
for (name, values), colour in zip(parts.items(), teaching.COLOURS, strict=False):
    figure.add_bar(x=values, y=list(steps), name=name, orientation="h", marker_color=colour)
figure.update_layout(barmode="stack", height=340).update_yaxes(autorange="reversed")

# %%
own = profile.is_calibrated("default")
Markdown(f"{'Measured here' if own else 'The one that ships, not measured here'}:\n> {costs.measured}")

# %% [markdown]
# ## Two scenarios that it was not fitted to
#
# One of short tasks and free slots, where only the machinery decides; one of a burst, where the queue does. Each once
# in the model and several times live, shuffled, always with the same tasks and the same draws.


# %%
def case(name, about, arrivals, service_s):
    role = {"service": {"dist": "lognormal", "mean_s": service_s, "cv": 0.5}}
    data = {"workload": {"arrivals": arrivals, "roles": {"AGENT": role}}, "mesh": {"workers": 2, "slots": 5}, "seed": 5}
    return Case(name, about, Scenario.from_data({"name": name, **data}, source=name))


cases = [
    case("short tasks", "machinery", {"kind": "poisson", "rate_per_s": 100, "duration_s": 2}, SHORT_S),
    case("a burst", "queue", {"kind": "burst", "count": 80}, LONG_S),
]
study = twin.run(simulate, run_live, cases, REPEATS)
assert all(not broken for one in study.data["scenarios"] for broken in one["checks"].values())

# %% [markdown]
# ## Task by task, beside the machine's own noise
#
# Every task ran in the model and in each live run. How far is the model from a live run? That number means nothing
# alone; beside it belongs how far one live run is from another.


# %%
def apart_ms(tried):
    live = [metrics.seconds(record.tasks, "latency_s") for record in tried.live]
    model = metrics.seconds(tried.model.tasks, "latency_s")
    of_model = np.concatenate([abs(model - one) for one in live])
    of_live = np.concatenate([abs(a - b) for number, a in enumerate(live) for b in live[:number]])
    return 1000 * of_model, 1000 * of_live


tried = {one.case.name: one for one in study.tried}
medians = [[np.median(values) for values in apart_ms(one)] for one in tried.values()]
(short, short_live), (burst, burst_live) = medians
figure = teaching.chart(
    f"The typical task is {burst:.0f} ms from the model in the burst, where live runs are {burst_live:.0f} ms apart; "
    f"{short:.1f} ms among short tasks, where live runs are {short_live:.1f} ms apart",
    "Difference in latency of the same task in two runs (ms)",
    "Share of tasks that differ by less",
    xaxis={"type": "log", "dtick": 1},
    yaxis={"tickformat": ".0%"},
)
who = (("model and live", teaching.MODEL_COLOUR), ("live and live", teaching.LIVE_COLOUR))
for name, dash in zip(tried, ("solid", "dash"), strict=True):
    for values, (pair, colour) in zip(apart_ms(tried[name]), who, strict=True):
        shares = np.arange(1, len(values) + 1) / len(values)
        teaching.line(figure, np.sort(np.maximum(values, 0.1)), shares, f"{name}: {pair}", colour, dash)
figure

# %% [markdown]
# ## Shown to be close, or only not shown to differ?
#
# The claim to be proved is that the model is within a margin of the real thing ("margin"; "from" and "to" are the 90
# % interval of the error). Two one-sided tests (TOST) either prove it, or prove the contrary, or say that so few
# repeats cannot tell. To see the test at work, a model sits it too that knows nothing of any machine (`ideal`), and
# where this machine has a profile of its own, one that knows another machine (`shipped`).

# %%
profiles = ("default", "shipped", "ideal") if profile.is_calibrated("default") else ("default", "ideal")
rows = []
for name, one in tried.items():
    for who in profiles:
        record = one.model if who == "default" else simulate(one.case.scenario.override({"profile": who}))
        told = twin.Tried(one.case, record, one.live).data["figures"]
        for path in PATHS:
            found = told[path]
            low, high = found["at_aim"]["ci90"]
            row = (name, path, who, found["model"], found["live_mean"], found["spread"], found["error"], low, high)
            rows.append((*row, found["aim"], found["at_aim"]["verdict"]))
columns = ("scenario", "figure", "profile", "model", "live", "live spread", "error", "from", "to", "margin", "verdict")
verdicts = pd.DataFrame(rows, columns=columns).set_index(["scenario", "figure", "profile"]).sort_index()
percents = dict.fromkeys(("error", "from", "to"), "{:+.1%}") | {"live spread": "{:.1%}", "margin": "±{:.0%}"}
verdicts.style.format({"model": "{:.4g}", "live": "{:.4g}", **percents})

# %%
off = verdicts["error"].abs().xs("latency_s.p50", level="figure").unstack()
assert off.loc["short tasks", "ideal"] > off.loc["a burst", "ideal"], (
    "where slots are waited for, the machine matters less"
)
assert study.data["scenarios"][1]["paired"]["correlation"] > 0.9
lines = [
    f"- {name}: median off by {off.loc[name, 'ideal']:.1%} if nothing is known of the machine, by "
    f"{off.loc[name, 'default']:.1%} with the profile; {one['anatomy']['why']}"
    for name, one in zip(tried, study.data["scenarios"], strict=True)
]
Markdown("\n".join(lines))

# %% [markdown]
# ## What one run would have told you
#
# Nothing. With a single live run there is no spread, so nothing can be shown, however small the error looks:

# %%
live = [record.info["summary"]["latency_s"]["p50"] for record in tried["a burst"].live]
model = tried["a burst"].model.info["summary"]["latency_s"]["p50"]
single = of_ratios(model, live[:1], verdicts.loc[("a burst", "latency_s.p50", "default"), "margin"])
assert single.word == "not shown" and single.p is None
print(f"one run: error {model / live[0] - 1:+.1%}, {single.word}")
print(f"{REPEATS} runs: {verdicts.loc[('a burst', 'latency_s.p50', 'default'), 'verdict']}")

# %% [markdown]
# ## Change one number
#
# - `REPEATS = 6`: which of the "not shown" become "equivalent", which "different"?
# - `SHORT_S = 0.1`: from which length of work on does the machinery not matter any more?
# - `meshlab calibrate`, then run this notebook again: is the profile of your machine better than the one that ships?
# - The whole test, some twenty scenarios from a fifth of the load to overload and crashes: `meshlab twin --out twin`.
#
# **Further reading.** D. J. Schuirmann, *A comparison of the two one-sided tests procedure and the power approach for
# assessing the equivalence of average bioavailability*, J. Pharmacokinetics and Biopharmaceutics 15, 1987.
