"""Phase-type laws fitted to other laws and to samples. `fit.py` is the front door; every other file is one way, or what
they share: `distance.py` says what near means.
"""

from qtheory.laws.fitting.closest import closest
from qtheory.laws.fitting.em import EMFit, em
from qtheory.laws.fitting.extrapolation import extrapolated
from qtheory.laws.fitting.fit import PhaseTypeFit, fit_phase_type
from qtheory.laws.fitting.moments import three_moments, two_moments
from qtheory.laws.fitting.tail import tail_fit

__all__ = [
    "EMFit",
    "PhaseTypeFit",
    "closest",
    "em",
    "extrapolated",
    "fit_phase_type",
    "tail_fit",
    "three_moments",
    "two_moments",
]
