"""Which distribution of the scenario's schema service times look like, and how badly it fits.

Every candidate is fitted by maximum likelihood and the one of least AIC is chosen (Akaike, IEEE Trans. Automatic
Control 19, 1974). Its distance from what was seen is that of Kolmogorov and Smirnov (the largest gap between the two
distribution functions, a share of the tasks) and of Anderson and Darling (which looks at the tails); their p-value is
found by parametric bootstrap, since the parameters come from the same values (Stute, González Manteiga and Presedo,
Metrika 40, 1993). Of many values only the distances count: any model of the world is then refused. If none is good, the
values themselves are the distribution (`empirical`), and it is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from lab.distributions import service_times
from lab.draws import Floats
from lab.limits import FIT_BOOTSTRAP_VALUES_MAX, FIT_EMPIRICAL_VALUES_MAX
from lab.scenario import ConstantService, ExponentialService, SpreadService
from lab.units import plural

VALUES_MIN: Final = 20
"""Of fewer values no shape can be told: they are taken as they are."""
CONSTANT_SPREAD_MAX: Final = 0.05
"""p95 and p5 that differ by no more than this share of the median are a constant with the noise of a clock."""
GAP_GOOD: Final = 0.05
"""Distribution functions that are nowhere further apart describe the same queue: percentiles differ by as little."""
MEAN_ERROR_MAX: Final = 0.05
"""The mean is the load: a fit that has it wrong by more replays another queue."""
P_GOOD: Final = 0.05
BOOTSTRAPS: Final = 199
"""The p-value is then known to ±0.03 where it matters; an odd number, so that 0.05 is a rank."""
SMALLEST_S: Final = 1e-6
"""Times of 0 are shorter than the clock's tick; logarithms need something."""
CV_MAX: Final = 100.0
"""The schema's bound."""
POINTS: Final = (0.5, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Candidate:
    """A distribution with its parameters: what a scenario would say, and how far it is from the values."""

    service: ConstantService | ExponentialService | SpreadService
    aic: float
    ks: float
    """The largest gap between both distribution functions, 0 to 1."""
    ad: float
    """Anderson and Darling's A²."""

    @property
    def mean_s(self) -> float:
        """Its mean."""
        return self.service.mean_s

    @property
    def words(self) -> str:
        """lognormal, mean 1.2 s, cv 0.8."""
        cv = f", cv {self.service.cv:.3g}" if isinstance(self.service, SpreadService) else ""
        return f"{self.service.dist}, mean {self.service.mean_s:.4g} s{cv}"

    def quantile_s(self, share: Floats) -> Floats:
        """Its quantiles."""
        return service_times(self.service, share)


@dataclass(frozen=True)
class ServiceFit:
    """The service times of one role, and what was made of them."""

    role: str
    values_s: Floats = field(repr=False)
    """As they were seen, sorted."""
    candidates: tuple[Candidate, ...]
    """The best one first."""
    refused: Mapping[str, str]
    """Distributions that cannot be had, and why."""
    p: float | None
    """Of the best candidate's gap; None where it was not asked: too few or too many values."""
    good: bool
    words: str

    @property
    def best(self) -> Candidate | None:
        """The candidate of least AIC."""
        return self.candidates[0] if self.candidates else None

    @property
    def dist(self) -> str:
        """What the scenario will say: a distribution's name, or `empirical`."""
        return self.best.service.dist if self.best is not None and self.good else "empirical"

    def kept_s(self) -> Floats:
        """The values that an empirical distribution keeps: all, or evenly spaced quantiles of very many."""
        if len(self.values_s) <= FIT_EMPIRICAL_VALUES_MAX:
            return self.values_s
        shares = (np.arange(FIT_EMPIRICAL_VALUES_MAX) + 0.5) / FIT_EMPIRICAL_VALUES_MAX
        return np.asarray(np.quantile(self.values_s, shares))

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        values = self.values_s
        shares = np.array(POINTS)
        best = self.best
        return {
            "role": self.role,
            "values": len(values),
            "mean_s": _rounded(values.mean()) if len(values) else None,
            "cv": _rounded(values.std() / values.mean()) if len(values) and values.mean() > 0 else None,
            "chosen": self.dist,
            "good": self.good,
            "fit": best.service.model_dump(mode="json") if best else None,
            "ks": _rounded(best.ks) if best else None,
            "ad": _rounded(best.ad) if best else None,
            "p": self.p,
            "aic": {one.service.dist: _rounded(one.aic) for one in self.candidates if math.isfinite(one.aic)},
            "refused": dict(self.refused),
            "quantiles_s": {
                f"p{100 * share:g}": {
                    "seen": _rounded(float(np.quantile(values, share))),
                    "fitted": _rounded(float(fitted)) if best else None,
                }
                for share, fitted in zip(POINTS, best.quantile_s(shares) if best else shares, strict=True)
            }
            if len(values)
            else {},
            "words": self.words,
        }


def fit(role: str, values_s: Floats, *, seed: int = 1, bootstraps: int = BOOTSTRAPS) -> ServiceFit:
    """The service times of a role as a distribution. `seed` is that of the bootstrap, `bootstraps` its size."""
    values = np.sort(np.maximum(values_s, 0.0))
    if len(values) == 0:
        return ServiceFit(role, values, (), {}, None, False, "no attempt has ended: nothing is known of its work")
    if _is_constant(values):
        service = ConstantService(dist="constant", mean_s=_rounded(np.median(values)))
        spread = _spread(values)
        words = f"constant: 90 % of the values lie within {100 * spread:.2g} % of the median"
        return ServiceFit(role, values, (Candidate(service, -math.inf, 0.0, 0.0),), {}, None, True, words)
    if len(values) < VALUES_MIN:
        words = (
            f"only {plural(len(values), 'value')}, too few to tell a shape ({VALUES_MIN} are needed): taken as they are"
        )
        return ServiceFit(role, values, (), {}, None, False, words)
    found, refused = _candidates(np.maximum(values, SMALLEST_S))
    if not found:
        return ServiceFit(role, values, (), refused, None, False, "no distribution of the schema can be had; see why")
    p = bootstrap_p(found[0], len(values), seed, bootstraps) if len(values) <= FIT_BOOTSTRAP_VALUES_MAX else None
    return _judged(role, values, found, refused, p)


def _judged(
    role: str, values: Floats, found: tuple[Candidate, ...], refused: Mapping[str, str], p: float | None
) -> ServiceFit:
    """Whether the best candidate is good enough to stand for the values."""
    best = found[0]
    off = best.mean_s / values.mean() - 1
    chance = 2 * values.std() / math.sqrt(len(values)) / values.mean()
    mean_ok = abs(off) <= max(MEAN_ERROR_MAX, chance if p is not None and p > P_GOOD else 0.0)
    shape_ok = best.ks <= GAP_GOOD or (p is not None and p > P_GOOD)
    good = bool(shape_ok and mean_ok)
    said = f"gap {best.ks:.3f} (Kolmogorov–Smirnov), A² {best.ad:.3g}"
    said += f", p {p:.3f}" if p is not None else ", no p: of so many values any fit is refused"
    if good:
        words = f"{best.words}: {said}"
    else:
        why = f"its mean is off by {100 * off:+.1f} %" if shape_ok else f"{said} is too far"
        words = f"no distribution fits; the nearest is {best.words}, but {why}: the seen values are used (empirical)"
    return ServiceFit(role, values, found, refused, p, good, words)


def _is_constant(values: Floats) -> bool:
    return len(values) >= 2 and _spread(values) <= CONSTANT_SPREAD_MAX


def _spread(values: Floats) -> float:
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return float((high - low) / middle) if middle > 0 else (0.0 if high == 0 else math.inf)


# ---- candidates ------------------------------------------------------------------------------------------------------

Fitter = Callable[[Floats], ExponentialService | SpreadService]


def exponential(values: Floats) -> ExponentialService:
    """Maximum likelihood: the mean."""
    return ExponentialService(dist="exponential", mean_s=_rounded(values.mean()))


def lognormal(values: Floats) -> SpreadService:
    """Maximum likelihood: μ and σ of the logarithms; mean = exp(μ + σ²/2), cv² = exp(σ²) − 1."""
    logs = np.log(values)
    variance = float(logs.var())
    return _spread_service("lognormal", math.exp(float(logs.mean()) + variance / 2), math.sqrt(math.expm1(variance)))


def gamma(values: Floats) -> SpreadService:
    """Maximum likelihood: shape k from ln k − ψ(k) = ln mean − mean ln, scale = mean / k; cv = 1/√k."""
    from scipy.stats import gamma as scipy_gamma

    shape, _, scale = scipy_gamma.fit(values, floc=0)
    return _spread_service("gamma", shape * scale, 1 / math.sqrt(shape))


def pareto(values: Floats) -> SpreadService:
    """Maximum likelihood of type I: the smallest value, and α = n / Σ ln(value / smallest). The schema has it by its
    cv, cv² = 1/(α(α − 2)), which is finite for α > 2 only.
    """
    smallest = float(values[0])
    excess = float(np.log(values / smallest).sum())
    alpha = len(values) / excess if excess > 0 else math.inf
    if alpha <= 2:
        raise ValueError(f"its tail (α = {alpha:.2f}) has no finite variance, which a scenario needs")
    return _spread_service("pareto", alpha * smallest / (alpha - 1), 1 / math.sqrt(alpha * (alpha - 2)))


FITTERS: Final[Mapping[str, Fitter]] = {
    "exponential": exponential,
    "lognormal": lognormal,
    "gamma": gamma,
    "pareto": pareto,
}
PARAMETERS: Final = {"exponential": 1, "lognormal": 2, "gamma": 2, "pareto": 2}


def _spread_service(dist: str, mean_s: float, cv: float) -> SpreadService:
    if not (0 < cv <= CV_MAX and math.isfinite(mean_s)):
        raise ValueError(f"its coefficient of variation would be {cv:.3g}, and a scenario allows up to {CV_MAX:g}")
    return SpreadService(dist=dist, mean_s=_rounded(mean_s), cv=_rounded(cv))  # type: ignore[arg-type]


def _candidates(values: Floats) -> tuple[tuple[Candidate, ...], dict[str, str]]:
    """All that can be had, by AIC = 2k − 2 ln L."""
    found, refused = [], dict[str, str]()
    for name, fitter in FITTERS.items():
        try:
            service = fitter(values)
        except (ValueError, OverflowError) as error:  # scipy's solver, too, says so when a shape cannot be had
            refused[name] = str(error)
            continue
        cumulative, log_density = _law(service)
        aic = 2 * PARAMETERS[name] - 2 * float(log_density(values).sum())
        shares = cumulative(values)
        if math.isfinite(aic):
            found.append(Candidate(service, aic, ks_gap(shares), anderson_darling(shares)))
    return tuple(sorted(found, key=lambda one: one.aic)), refused


def _law(service: ExponentialService | SpreadService) -> tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]:
    """(distribution function, logarithm of the density), with the parameters of `lab.distributions`."""
    from scipy import stats

    mean_s = service.mean_s
    if isinstance(service, ExponentialService):
        law = stats.expon(scale=mean_s)
    elif service.dist == "lognormal":
        sigma = math.sqrt(math.log1p(service.cv**2))
        law = stats.lognorm(sigma, scale=mean_s / math.exp(sigma * sigma / 2))
    elif service.dist == "gamma":
        law = stats.gamma(1 / service.cv**2, scale=mean_s * service.cv**2)
    else:
        alpha = 1 + math.sqrt(1 + 1 / service.cv**2)
        # Rounded parameters may put the smallest value a hair below the law's own smallest.
        law = stats.pareto(alpha, scale=mean_s * (alpha - 1) / alpha * (1 - 1e-6))
    return law.cdf, law.logpdf


# ---- distances -------------------------------------------------------------------------------------------------------


def ks_gap(shares: Floats) -> float:
    """Kolmogorov and Smirnov's D of sorted values: the largest gap between the fitted shares F(x₁) ≤ … ≤ F(xₙ) and the
    steps i/n.
    """
    count = len(shares)
    steps = np.arange(count + 1) / count
    return float(max((steps[1:] - shares).max(), (shares - steps[:-1]).max()))


def anderson_darling(shares: Floats) -> float:
    """A² = −n − (1/n) Σ (2i − 1)(ln F(xᵢ) + ln(1 − F(xₙ₊₁₋ᵢ))) of sorted values (Anderson and Darling, 1954)."""
    count = len(shares)
    inside = np.clip(shares, 1e-12, 1 - 1e-12)
    weights = 2 * np.arange(1, count + 1) - 1
    return float(-count - np.sum(weights * (np.log(inside) + np.log1p(-inside[::-1]))) / count)


def bootstrap_p(best: Candidate, count: int, seed: int, bootstraps: int = BOOTSTRAPS) -> float:
    """How often values of the fitted law, fitted in their turn, lie as far from their fit: (more + 1) / (B + 1)."""
    random = np.random.default_rng(seed)
    fitter = FITTERS[best.service.dist]
    further = 0
    for _ in range(bootstraps):
        values = np.sort(np.maximum(best.quantile_s(random.random(count)), SMALLEST_S))
        try:
            again = fitter(values)
        except (ValueError, OverflowError):
            continue
        cumulative, _ = _law(again)
        further += ks_gap(cumulative(values)) >= best.ks
    return round((further + 1) / (bootstraps + 1), 4)


def _rounded(value: Any) -> float:
    """Six significant digits: what was measured is not known any better, and files stay readable."""
    return float(f"{float(value):.6g}")
