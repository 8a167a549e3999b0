"""Named sets of values. A preset is a partial scenario: whatever the scenario itself says wins over it.

`lab` is the defaults. The two published presets hold the rules of the systems that we stand in for, flaws included, so
that a flaw and its cure can be watched side by side on the same tasks. (Where the rules came from: docs/decisions/.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AGENT_MESH_PUBLISHED: Mapping[str, Any] = {
    "rules": {
        "retry": {"wait": "in_slot"},
        "lease": {"claim": "pop_then_update"},
        "health": {"backpressure": False, "report_s": 2.0},
        "shutdown": {"on_term": "drop"},
    },
    "mesh": {"workers": 3, "slots": 5},
    "role": {"service": {"dist": "constant", "mean_s": 2.0}},
}

GO_DISTRIBUTED_QUEUE_PUBLISHED: Mapping[str, Any] = {
    "rules": {
        "retry": {"max_retries": 3, "base_s": 0.0, "position": "front"},
        "lease": {"claim": "pop_then_update"},
        "health": {"backpressure": False},
        "shutdown": {"on_term": "drop"},
    },
    "role": {"service": {"dist": "constant", "mean_s": 1.0}, "failure_rate": 0.25},
}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "lab": {},
    "agent-mesh-published": AGENT_MESH_PUBLISHED,
    "go-distributed-queue-published": GO_DISTRIBUTED_QUEUE_PUBLISHED,
}
"""By name: `rules` and `mesh` are laid under the scenario's own, `role` under each role of its workload."""
