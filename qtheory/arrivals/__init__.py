"""How requests come: independent of the engine (Poisson) or in answer to its completions (Closed)."""

from qtheory.arrivals.closed import Closed
from qtheory.arrivals.poisson import Poisson

Arrivals = Poisson | Closed

__all__ = ["Arrivals", "Closed", "Poisson"]
