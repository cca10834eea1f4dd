"""What every answer carries: where the number comes from and how far it can be trusted.

A number without provenance is a defect. So every result is frozen and has

`method`
    the name of the algorithm that produced it;
`exact`
    True when the model as stated is solved to numerical precision;
`error_bounds`
    relative error by quantity: the largest numerical error of an exact result; of an approximation the largest that was
    measured in the region that its method states, elsewhere what 95 % of the errors at engines like it stay below
    (`qtheory/accuracy`), or `inf` where nobody measured any;
`error_bound`
    the largest of them for means and probabilities, one float; of quantiles, variances and survival functions each is
    in `error_bounds`;
`warnings`
    sentences for the user: what the model leaves out, which region was not measured.

>>> Estimate(1.02, 0.05).covers(1.0)
True
>>> print(Estimate(1.02, 0.05))
1.02 ± 0.05
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Result:
    """Provenance shared by all answers; see the module's text for the meaning of each field."""

    method: str
    exact: bool
    error_bounds: Mapping[str, float]
    warnings: tuple[str, ...] = ()

    @property
    def error_bound(self) -> float:
        """The largest of `error_bounds` but for those of quantiles, variances and survival functions."""
        others = ("quantile", "variance", "sf")
        return max((x for name, x in self.error_bounds.items() if not name.endswith(others)), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the public numbers as plain Python values, ready for `json.dumps` (arrays become lists)."""
        shown = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self) if not f.name.startswith("_")}
        return {**shown, "error_bound": _plain(self.error_bound)}


@dataclass(frozen=True)
class Estimate:
    """A simulated value with the half-width of its 95 % confidence interval (same unit as the value)."""

    value: float
    half_width: float

    def covers(self, other: float, *, half_widths: float = 1.0) -> bool:
        """Whether `other` lies within `half_widths` half-widths of the value."""
        return abs(other - self.value) <= half_widths * self.half_width

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.6g} ± {self.half_width:.2g}"


def _plain(value: object) -> Any:
    """Python value for JSON; JSON has no infinity, so an unknown bound becomes None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if isinstance(value, Result):
            return value.to_dict()
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return [_plain(x) for x in value.tolist()]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(x) for key, x in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(x) for x in value]
    return value
