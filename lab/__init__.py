"""What both engines share: the rulebook, the scenario, the task plan, the record, and what is read off it.

from lab import Scenario, compare, sweep
from simulation import simulate
from live_backend import run_live
"""

from lab.compare import Comparison, compare
from lab.errors import LabError, ScenarioError
from lab.scenario import Scenario
from lab.sweep import sweep

__all__ = ["Comparison", "LabError", "Scenario", "ScenarioError", "compare", "sweep"]
