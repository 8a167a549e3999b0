"""The law that fits a run, as `meshlab run` prints it and as its JSON has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.theory import theory_lines

MM2 = """\
name: mm2
seed: 5
workload:
  arrivals: {kind: poisson, rate_per_s: 1.0, count: 3000}
  roles:
    DEV: {service: {dist: exponential, mean_s: 1.0}}
mesh: {workers: 1, slots: 2}
profile: ideal
"""


@pytest.fixture(autouse=True)
def mm2(here: Path) -> None:
    """A queue of ρ ½: 3,000 tasks are some 500 of its relaxation times."""
    (here / "mm2.yaml").write_text(MM2)


def test_the_law_stands_beside_the_result(meshlab) -> None:
    """M/M/2 at ρ ½: 1/3 wait, 1/3 s on average."""
    out = meshlab("run", "mm2.yaml").out
    assert "theory: M/M/2 (Erlang C), exact" in out
    assert "Poisson arrivals, exponential service, first come first served" in out
    head, wait, share = out[out.index("first come") :].splitlines()[1:4]
    assert head.split() == ["law", "model", "z"]
    assert wait.split()[:4] == ["queue", "wait", "mean", "0.333"]
    assert share.split()[:5] == ["tasks", "that", "wait", "33.33", "%"]
    assert wait.split()[-1][0] in "+-", "a long run bears a z"


def test_the_json_has_it_too(meshlab) -> None:
    beside = meshlab("run", "mm2.yaml", "--json").json["theory"]
    assert (beside["law"], beside["exact"], beside["note"]) == ("M/M/2 (Erlang C)", True, None)
    wait = beside["figures"]["queue_wait_s.mean"]
    assert wait["law"] == pytest.approx(1 / 3, abs=1e-9)
    assert wait["z"] == pytest.approx((wait["simulated"] - wait["law"]) / wait["stderr"], abs=1e-3)
    assert abs(wait["z"]) < 4


def test_a_short_run_says_why_it_bears_no_z(meshlab) -> None:
    out = meshlab("run", "mm2.yaml", "--set", "workload.arrivals.count=200").out
    assert "theory: M/M/2, started empty, exact" in out
    assert "too few to tell its own standard error" in out


def test_an_approximation_is_called_one(meshlab) -> None:
    out = meshlab("run", "mm2.yaml", "--set", "workload.roles.DEV.service={dist: lognormal, mean_s: 1.0}").out
    assert "theory: no closed form: several slots, and service times that are neither exponential nor constant" in out
    assert "nearest approximation: M/G/2 (Allen-Cunneen)" in out
    assert ["approximation", "model", "z"] in [line.split() for line in out.splitlines()]


def test_an_obstacle_is_named_and_the_nearest_approximation_called_so(meshlab) -> None:
    fault = "faults=[{at_s: 1, kind: kill_worker, worker: 0}]"
    out = meshlab("run", "mm2.yaml", "--set", fault, "--set", "workload.arrivals.count=50").out
    assert "theory: no closed form: faults strike" in out
    assert "nearest approximation: M/M/2, started empty, faults left out" in out
    assert ["approximation", "model", "z"] in [line.split() for line in out.splitlines()]


def test_one_calm_line_where_nothing_can_be_said(meshlab) -> None:
    idle = "workload.roles.DEV.service={dist: constant, mean_s: 0}"
    out = meshlab("run", "mm2.yaml", "--set", idle, "--set", "workload.arrivals.count=50").out
    lines = [line for line in out.splitlines() if "closed form" in line or "approximation" in line]
    assert lines == ["theory: no closed form: the work takes no time"]


@pytest.mark.parametrize(
    ("kind", "z", "told"), [("approximation", 9.0, True), ("approximation", None, False), ("nearly", 9.0, False)]
)
def test_a_large_z_of_an_approximation_is_no_fault_of_the_run(kind: str, z: float | None, told: bool) -> None:
    figures = {"queue_wait_s.mean": {"law": 0.5, "simulated": 0.6, "stderr": 0.1, "z": z}}
    beside = {"law": "G/G/1", "kind": kind, "exact": False, "reason": "why", "note": None, "figures": figures}
    assert any("the approximation is rough" in line for line in theory_lines({"sim": beside})) is told


def test_the_machinery_is_named(meshlab) -> None:
    out = meshlab("run", "mm2.yaml", "--set", "profile=default").out
    assert "theory: M/M/2 (Erlang C), nearly" in out
    assert "it leaves out what the machinery costs (profile default" in out
    assert "tasks that wait" not in out


def test_both_engines_share_a_table() -> None:
    """One law, a column and a z for each engine; what an engine lacks is a dash."""

    def beside(engine: str, value: float, z: float | None) -> dict[str, object]:
        figures = {"queue_wait_s.mean": {"law": 0.5, engine: value, "stderr": None, "z": z}}
        return {"law": "M/M/1", "kind": "exact", "exact": True, "reason": "why", "note": None, "figures": figures}

    lines = list(theory_lines({"sim": beside("simulated", 0.6, 1.25), "live": beside("live", 0.7, None)}))
    assert lines[:3] == ["", "theory: M/M/1, exact", "why"]
    assert lines[3].split() == ["law", "model", "z", "live", "z"]
    assert lines[4].split() == ["queue", "wait", "mean", "0.500", "s", "0.600", "s", "+1.2", "0.700", "s", "–"]
    assert list(theory_lines({"sim": None})) == []
