"""All conformance cases, in the order of the files."""

from tests.conformance import cases_health, cases_knobs, cases_lease, cases_priority, cases_retry
from tests.conformance.case import CASES

FILES = (cases_retry, cases_priority, cases_lease, cases_health, cases_knobs)
"""Importing them is what fills CASES."""

__all__ = ["CASES", "FILES"]
