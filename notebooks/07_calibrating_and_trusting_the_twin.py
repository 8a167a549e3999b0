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
import os
from unittest.mock import patch

import numpy as np
from IPython.display import Markdown

from lab import Scenario, metrics, profile, teaching, twin
from lab.equivalence import of_ratios
from lab.twin_matrix import Case
from live_backend import run_live
from live_backend.servers import open_servers
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
# then `default` is the profile that ships, of a machine that is not yours. This notebook takes whichever there is,
# and says which.

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
way = [name != "due" for name in steps]  # most tasks have no retry
own_ms, waited = np.sum(alone_ms, where=way), 1 - np.sum(busy_ms, where=way) / np.sum(alone_ms, where=way)
own = profile.is_calibrated("default")
whose = "this machine, as calibrated" if own else "the profile that ships, not measured here"
figure = teaching.chart(
    f"A task that meets no other costs {own_ms:.1f} ms of machinery, and {waited:.0%} of that is waiting ({whose})",
    "Time for one task alone (ms)",
    "Step of its way",
)
WORDS = {
    **{"submit": "submit: the row is written", "push": "push: its id is queued", "fetch": "fetch: a worker has the id"},
    **{"claim": "claim: the row is the worker's", "begin": "begin: the work starts", "settle": "settle: the verdict"},
    **{"reply": "reply: the slot is free again", "due": "due: only of a retry, until it is queued"},
}
for (name, values), colour in zip(parts.items(), teaching.COLOURS, strict=False):
    figure.add_bar(x=values, y=[WORDS[step] for step in steps], name=name, orientation="h", marker_color=colour)
figure.update_layout(barmode="stack", height=340, legend_traceorder="normal")
figure.update_yaxes(autorange="reversed", automargin=True, title_standoff=8)

# %%
Markdown(f"In use: {whose}.\n> {costs.measured}")

# %% [markdown]
# ## Two scenarios that it was not fitted to
#
# One of short tasks and free slots, where only the machinery decides; one of a burst, where the queue does. Each once
# in the model and several times live, shuffled, always with the same tasks and the same draws, on one pair of servers.


# %%
def case(name, about, arrivals, service_s):
    role = {"service": {"dist": "lognormal", "mean_s": service_s, "cv": 0.5}}
    data = {"workload": {"arrivals": arrivals, "roles": {"AGENT": role}}, "mesh": {"workers": 2, "slots": 5}, "seed": 5}
    return Case(name, about, Scenario.from_data({"name": name, **data}, source=name))


cases = [
    case("short tasks", "machinery", {"kind": "poisson", "rate_per_s": 100, "duration_s": 2}, SHORT_S),
    case("a burst", "queue", {"kind": "burst", "count": 80}, LONG_S),
]
with open_servers() as servers, patch.dict(os.environ, REDIS_URL=servers.redis_url, DB_DSN=servers.dsn):
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
# The claim to be proved is that the model is within a margin of the real thing. Two one-sided tests (TOST) either
# prove it (the whole 90 % interval of the error lies within the margin), or prove the contrary (it lies outside), or
# say that so few repeats cannot tell. To see the test at work, a model sits it too that knows nothing of any machine
# (`ideal`), and where this machine has a profile of its own, one that knows another machine (`shipped`).

# %%
profiles = ("default", "shipped", "ideal") if own else ("default", "ideal")
verdicts = {}
for name, one in tried.items():
    for who in profiles:
        record = one.model if who == "default" else simulate(one.case.scenario.override({"profile": who}))
        told = twin.Tried(one.case, record, one.live).data["figures"]
        verdicts |= {(who, name, path): told[path] for path in PATHS}


def shown(who) -> int:
    """In how many figures the model with this profile is shown to be close."""
    return sum(found["at_aim"]["verdict"] == "equivalent" for (by, _, _), found in verdicts.items() if by == who)


tests = len(PATHS) * len(cases)
sat = ", ".join(f"{who} in {shown(who)}" for who in profiles)
forest = teaching.chart(
    f"Shown to be close: {sat} of {tests} figures, from {REPEATS} live runs each",
    "Error of the model, in margins; within the grey band it is close",
    "What is predicted",
    xaxis={"range": (-5.5, 11), "tickvals": (-4, -2, -1, 0, 1, 2, 4)},
    height=200 + 34 * tests * len(profiles),
)
symbols = {"default": "circle", "shipped": "square", "ideal": "diamond-open"}
colours = dict(zip(profiles, (teaching.MODEL_COLOUR, *teaching.COLOURS), strict=False))
for who in profiles:
    rows, at, ends, words = [], [], [], []
    for (by, name, path), found in verdicts.items():
        if by == who:
            rows.append(f"{name}: {path.removeprefix('latency_s.').removesuffix('_per_s')} ({who})")
            at.append(found["error"] / found["aim"])
            ends.append([bound / found["aim"] for bound in found["at_aim"]["ci90"]])
            words.append(f" {found['error']:+.1%} of ±{found['aim']:.0%}: {found['at_aim']['verdict']}")
    spot = np.clip(at, -5, 5)  # what is far off is drawn at the edge, with its number
    bars = [np.clip([high for _, high in ends], -5, 5) - spot, spot - np.clip([low for low, _ in ends], -5, 5)]
    forest.add_scatter(
        x=spot, y=rows, name=who, mode="markers", marker={"symbol": symbols[who], "size": 10, "color": colours[who]},
        error_x={"type": "data", "symmetric": False, "array": bars[0], "arrayminus": bars[1], "color": colours[who]},
    )  # fmt: skip
    for row, word in zip(rows, words, strict=True):
        forest.add_annotation(x=1, xref="paper", xanchor="right", y=row, text=word, showarrow=False)
forest.add_vrect(-1, 1, fillcolor="#888888", opacity=0.18, line_width=0, layer="below")
order = sorted(row for trace in forest.data for row in trace.y)
forest.update_yaxes(automargin=True, categoryorder="array", categoryarray=order[::-1])

# %%
off = {(who, name): abs(verdicts[who, name, "latency_s.p50"]["error"]) for who in profiles for name in tried}
assert off["ideal", "short tasks"] > off["ideal", "a burst"], "where slots are waited for, the machine matters less"
assert study.data["scenarios"][1]["paired"]["correlation"] > 0.9
lines = [
    f"- {name}: median off by {off['ideal', name]:.1%} if nothing is known of the machine, by "
    f"{off['default', name]:.1%} with the profile; {one['anatomy']['why']}"
    for name, one in zip(tried, study.data["scenarios"], strict=True)
]
Markdown("\n".join(lines))

# %% [markdown]
# ## What one run would have told you
#
# Nothing. With a single live run there is no spread, so nothing can be shown, however small the error looks. The
# median of the burst, again:

# %%
live = [record.info["summary"]["latency_s"]["p50"] for record in tried["a burst"].live]
model = tried["a burst"].model.info["summary"]["latency_s"]["p50"]
judged = verdicts["default", "a burst", "latency_s.p50"]
single = of_ratios(model, live[:1], judged["aim"])
assert single.word == "not shown" and single.p is None
print(f"one run: error {model / live[0] - 1:+.1%}, {single.word}")
print(f"{REPEATS} runs: error {judged['error']:+.1%}, {judged['at_aim']['verdict']}")

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
