"""A scenario as a file that means the same in any folder."""

from __future__ import annotations

import yaml

from lab import profile
from lab.scenario import Scenario


def yaml_text(scenario: Scenario) -> str:
    """The scenario as YAML with its paths (traces, service times, profile) made absolute; comments are lost."""
    data = scenario.data
    workload = data["workload"]
    services = [(role or {}).get("service") for role in workload["roles"].values()]
    for place in (workload["arrivals"], *services):
        if isinstance(place, dict) and "path" in place:
            place["path"] = str((scenario.base / place["path"]).resolve())
    if data.get("profile", "default") not in profile.BUILT_IN:
        data["profile"] = str(profile.place(data["profile"], scenario.base).resolve())
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
