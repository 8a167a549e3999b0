"""The contest of task backends behind benchmarks/backend.py: one harness, one pair of servers, one task body."""
