"""Service times from uniforms, by the inverse of each distribution: one uniform, one time.

Inversion keeps draws comparable: the same uniform gives a longer time when the mean grows, never another order of
tasks.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from lab.draws import Floats
from lab.limits import SERVICE_S_MAX
from lab.scenario import ConstantService, ExponentialService, Service, SpreadService


def service_times(service: Service, u: Floats, values: Floats | None = None) -> Floats:
    """Service times in seconds for the uniforms `u`. `values` are the seconds of an empirical distribution, sorted."""
    if isinstance(service, ConstantService):
        return np.full(len(u), service.mean_s)
    if isinstance(service, ExponentialService):
        return -service.mean_s * np.log1p(-u)
    if isinstance(service, SpreadService):
        return np.minimum(_spread(service, u), SERVICE_S_MAX)
    if values is None:
        raise ValueError("an empirical distribution needs its values")
    return values[np.minimum((u * len(values)).astype(np.int64), len(values) - 1)]


def _spread(service: SpreadService, u: Floats) -> Floats:
    """Lognormal, gamma or Pareto (type I) with the given mean and coefficient of variation cv.

    lognormal: σ² = ln(1 + cv²), μ = ln(mean) − σ²/2;  gamma: shape 1/cv², scale mean·cv²;
    pareto: cv² = 1/(α(α − 2)), so α = 1 + √(1 + 1/cv²), smallest value mean·(α − 1)/α.
    """
    mean_s, cv2 = service.mean_s, service.cv**2
    if mean_s == 0:
        return np.zeros(len(u))
    if service.dist == "lognormal":
        sigma = math.sqrt(math.log1p(cv2))
        normal = np.fromiter(map(NormalDist().inv_cdf, u.tolist()), dtype=float, count=len(u))
        return np.asarray(np.exp(math.log(mean_s) - sigma * sigma / 2 + sigma * normal))
    if service.dist == "gamma":
        # Imported where it is needed: SciPy costs a worker process 25 MiB and a third of a second.
        from scipy.special import gammaincinv

        return np.asarray(gammaincinv(1 / cv2, u) * (mean_s * cv2))
    alpha = 1 + math.sqrt(1 + 1 / cv2)
    return np.asarray(mean_s * (alpha - 1) / alpha * (1 - u) ** (-1 / alpha))
