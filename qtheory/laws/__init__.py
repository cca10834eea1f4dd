"""Service-time laws. `law.py` says what a law is; every other file is a family, or makes laws from laws."""

from qtheory.laws.bounded_pareto import BoundedPareto
from qtheory.laws.coxian import Coxian
from qtheory.laws.deterministic import Deterministic
from qtheory.laws.empirical import Empirical
from qtheory.laws.exponential import Exponential
from qtheory.laws.gamma import Erlang, Gamma
from qtheory.laws.histogram import Histogram
from qtheory.laws.hyperexponential import Hyperexponential
from qtheory.laws.law import Law
from qtheory.laws.lognormal import Lognormal
from qtheory.laws.mixture import Mixture
from qtheory.laws.phase_type import PhaseType
from qtheory.laws.residual import Residual
from qtheory.laws.scaled import Scaled, Shifted
from qtheory.laws.scipy_law import law_of
from qtheory.laws.weibull import Weibull

__all__ = [
    "BoundedPareto",
    "Coxian",
    "Deterministic",
    "Empirical",
    "Erlang",
    "Exponential",
    "Gamma",
    "Histogram",
    "Hyperexponential",
    "Law",
    "Lognormal",
    "Mixture",
    "PhaseType",
    "Residual",
    "Scaled",
    "Shifted",
    "Weibull",
    "law_of",
]
