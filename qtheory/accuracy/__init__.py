"""How far an approximate answer is off where its method does not say: by what was found at engines like it.

`validation/atlas` measures every method against simulation at thousands of engines, spread evenly over all that a user
may describe. Of each method's cells a tree makes neighbourhoods, by where engines stand (`coordinates.py`): they are
divided where that makes the bounds smallest. The size of an error is its absolute value as measured, what the
simulation adds to it included, over what is typical of the quantity with this method; of the n sizes in a neighbourhood
the ⌈0.95 (n + 1)⌉-th smallest bounds the next one's with probability 0.95 at least, if it comes from the same
distribution (Vovk, Gammerman & Shafer 2005, section 2.2). `atlas.json` holds the trees.

    bound = typical error of the quantity · factor of the neighbourhood

One error in twenty is larger. Where a method knows the largest error of a region, as measured where errors are worst,
an answer's `error_bounds` hold that; elsewhere they hold these. Outside the ranges of the cells that a method answered
nothing is known, and the bound is inf.
Waits are meant above 0.05 mean service times, blocking above 1e-3, of a disk above 0.01; quantiles are those of 99 %.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from qtheory.accuracy.coordinates import COORDINATES, coordinates
from qtheory.engine import Engine
from qtheory.result import Result

__all__ = ["COORDINATES", "bounded", "coordinates", "neighbourhood"]

NEVER = ("variance", "sf")
"""What no error of an approximation was ever measured for."""

R = TypeVar("R", bound=Result)


def bounded(result: R, part: str, engine: Engine, depth: float = math.inf) -> R:
    """The result, with bounds from the atlas where its method states none, and a warning that says so.

    Parameters
    ----------
    result : Result
        An answer; exact ones are returned as they are.
    part : str
        "steady" or "drain".
    engine : Engine
        What was asked about.
    depth : float
        Requests at the device that a throttle leaves at the stop.

    Examples
    --------
    >>> import qtheory as qt
    >>> burst = qt.Disk(qt.mmpp2((600.0, 100.0), (0.1, 0.2)), buffer=64)
    >>> s = qt.solve(qt.Engine([burst] * 4, qt.Device(servers=4, service=qt.Exponential(mean=5e-3))))
    >>> s.method, s.exact, 0.0 < s.error_bound < math.inf
    ('markovian_arrivals', False, True)
    """
    if result.exact:
        return result
    curves = any(device.service is None for device in engine.devices)
    place = {} if curves else dict(zip(COORDINATES, coordinates(engine, depth).tolist(), strict=True))
    cells, known = neighbourhood(part, result.method, place)
    bounds, warnings = dict(result.error_bounds), list(result.warnings)
    if told := [name for name in known if math.isinf(bounds.get(name, math.inf))]:
        warnings.append(f"the error bounds of {', '.join(told)} hold for 95 % of {cells} engines like this")
    bounds |= {name: known[name] for name in told}
    if rest := [name for name, bound in bounds.items() if math.isinf(bound) and name not in NEVER]:
        warnings.append(f"no error of {', '.join(rest)} was measured here: compare with qt.simulate")
    return replace(result, error_bounds=bounds, warnings=tuple(warnings))


def neighbourhood(part: str, method: str, place: Mapping[str, float]) -> tuple[int, dict[str, float]]:
    """How many of a method's cells are in the neighbourhood of a place, and what bounds their errors, by quantity.

    No place is that of an engine that stands nowhere: its devices are rate curves.
    """
    of_method = _atlas().get(f"{part}/{method}")
    if of_method is None or not place:
        return 0, {}
    if not all(low <= place[name] <= high for name, (low, high) in of_method["range"].items()):
        return 0, {}
    node = of_method["tree"]
    while "of" in node:
        node = node["below"] if place[node["of"]] <= node["at"] else node["above"]
    return node["cells"], {name: typical * node["factor"] for name, typical in of_method["typical"].items()}


@cache
def _atlas() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((files("qtheory.accuracy") / "atlas.json").read_text(encoding="utf-8"))
    return found["methods"]  # type: ignore[no-any-return]
