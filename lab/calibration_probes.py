"""The short runs from which `meshlab calibrate` learns: each loads one part of the machinery and spares the rest.

None of them is a scenario that anything is judged on.
"""

from __future__ import annotations

from typing import Any, Final

from lab.scenario import Scenario

LIGHT: Final = """
name: probe-light
description: Tasks one by one; half of them fail once. What each step takes when nothing stands in its way.
seed: 11
workload:
  arrivals: {kind: schedule, until_s: 10.0, spacing: poisson, entries: [{at_s: 2.0, rate_per_s: 50}]}
  roles:
    sure: {service: {dist: constant, mean_s: 0.04}}
    once: {service: {dist: constant, mean_s: 0.04}, fail_first: 1}
mesh: {workers: 1, slots: 50}
rules: {retry: {base_s: 0.2}, health: {report_s: 0.25}}
"""
BUSY: Final = """
name: probe-busy
description: Slots that are never idle, so that each verdict makes room for a claim.
seed: 12
workload:
  arrivals: {kind: burst, count: 1200}
  roles: {any: {service: {dist: exponential, mean_s: 0.03}}}
mesh: {workers: 2, slots: 4}
"""
DRAIN: Final = """
name: probe-drain
description: Nothing but machinery, in large batches, through one worker's loop.
seed: 13
workload:
  arrivals: {kind: burst, count: 12000}
  roles: {any: {service: {dist: constant, mean_s: 0.0}}}
mesh: {workers: 1, slots: 60}
"""
CROWD: Final = """
name: probe-crowd
description: The same through so many workers that they wait for the cores.
seed: 13
workload:
  arrivals: {kind: burst, count: 16000}
  roles: {any: {service: {dist: constant, mean_s: 0.0}}}
mesh: {workers: 3, slots: 60}
"""
BRISK: Final = """
name: probe-brisk
description: Short tasks one by one, so many that the machine never sleeps.
seed: 17
workload:
  arrivals: {kind: poisson, rate_per_s: 500, duration_s: 4}
  roles: {any: {service: {dist: constant, mean_s: 0.005}}}
mesh: {workers: 2, slots: 10}
"""
COMPUTING: Final = """
name: probe-computing
description: Work that computes, so that event loops wait for the interpreter.
seed: 14
workload:
  arrivals: {kind: poisson, rate_per_s: 4, duration_s: 10}
  roles: {any: {service: {dist: exponential, mean_s: 0.12}, cpu_share: 0.6}}
mesh: {workers: 1, slots: 4}
"""
HOLDING: Final = """
name: probe-holding
description: Tasks that hold memory, and a worker that is killed and comes back.
seed: 15
workload:
  arrivals: {kind: poisson, rate_per_s: 10, duration_s: 6}
  roles: {any: {service: {dist: constant, mean_s: 0.2}, memory_mib: 20}}
mesh: {workers: 1, slots: 8}
rules: {health: {report_s: 0.1, rss_limit_mib: 4096}, lease: {length_s: 1.0, sweep_s: 0.25}}
faults: [{kind: kill_worker, at_s: 4.0, worker: 0}]
"""
CLOSING: Final = """
name: probe-closing
description: A gate that closes, so that the worker gives back what it can.
seed: 18
workload:
  arrivals: {kind: burst, count: 8}
  roles: {any: {service: {dist: constant, mean_s: 0.4}, memory_mib: 40}}
mesh: {workers: 1, slots: 2}
rules: {health: {report_s: 0.1, rss_limit_mib: 160}}
"""
CHECK: Final = """
name: probe-check
description: Fitted to nothing; how well the profile predicts it.
seed: 16
workload:
  arrivals: {kind: poisson, rate_per_s: 110, duration_s: 6}
  roles: {any: {priority: {5: 1, 2: 1, 1: 1}, service: {dist: lognormal, mean_s: 0.06, cv: 1.0}, failure_rate: 0.05}}
mesh: {workers: 2, slots: 5}
rules: {retry: {base_s: 0.1}}
"""


def probe(text: str, profile: str = "ideal", **values: Any) -> Scenario:
    """A probe as a scenario; keyword arguments replace values, `__` for the dots of their paths."""
    changed = {path.replace("__", "."): value for path, value in values.items()}
    return Scenario.parse(text).override({"profile": profile, **changed})
