"""How requests come: independent of the engine (Poisson, MAP, Marked) or in answer to its completions (Closed).

`MAP` is the Markovian arrival process, of which `MMPP`, `mmpp2` and `IPP` make the Markov-modulated ones; `Marked`
deals one out among disks. `fit_map` fits one to recorded arrivals, `fit_dispersion` to an index of dispersion alone.
"""

from qtheory.arrivals.closed import Closed
from qtheory.arrivals.dispersion_fit import fit_dispersion
from qtheory.arrivals.fit import FittedMAP, fit_map
from qtheory.arrivals.map import MAP
from qtheory.arrivals.marked import Marked
from qtheory.arrivals.mmpp import IPP, MMPP, mmpp2
from qtheory.arrivals.poisson import Poisson

Arrivals = Poisson | MAP | Marked | Closed
"""What a disk takes as its arrivals."""

__all__ = [
    "IPP",
    "MAP",
    "MMPP",
    "Arrivals",
    "Closed",
    "FittedMAP",
    "Marked",
    "Poisson",
    "fit_dispersion",
    "fit_map",
    "mmpp2",
]
