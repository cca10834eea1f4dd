"""How the event kernel's functions are compiled.

They pass the state to each other as tuples of some twenty arrays. numba would count the references to each array at
each call, which costs ten times what the functions do; they allocate nothing, so that there is nothing to count, and
`_nrt=False` says so (numba refuses to compile a function that does allocate under it).
"""

from __future__ import annotations

from typing import Any

from numba import njit

_NOTHING_ALLOCATED: dict[str, Any] = {"_nrt": False}

compiled = njit(cache=True, **_NOTHING_ALLOCATED)
inlined = njit(cache=True, forceinline=True, **_NOTHING_ALLOCATED)
"""The same, for small functions: their calls would cost more than they do."""
