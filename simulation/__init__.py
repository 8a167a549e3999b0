"""The SimPy engine: a scenario in virtual time. `simulate(scenario)` returns its record."""

from simulation.engine import simulate

__all__ = ["simulate"]
