"""Single stations, textbook style: rates and a service law in, a `Station` out, with the same names everywhere.

Exact: `mmc`, `mmck`, `mphc`, `mphck`, `mapphc`, `mg1`, `mg1k`, `mdc`, `mgcc`, `mginf`, `finite_source`, `engset`,
`busy_period`, and Erlang's formulas for real numbers of servers with their inverses and derivatives. Approximate, with
a measured error: `mgc`, `mgck`. For many servers `square_root_staffing`, for bursty arrivals `hayward` and
`equivalent_random`.
"""

from qtheory.stations.busy_period import BusyPeriod, busy_period
from qtheory.stations.erlang import (
    erlang_b,
    erlang_b_gradient,
    erlang_c,
    erlang_c_gradient,
    load_for_blocking,
    load_for_delay,
    servers_for_blocking,
    servers_for_delay,
)
from qtheory.stations.finite_source import engset, finite_source
from qtheory.stations.infinite_servers import mgcc, mginf
from qtheory.stations.mapphc import mapphc
from qtheory.stations.mdc import mdc
from qtheory.stations.mg1 import mg1, mg1_wait_moments
from qtheory.stations.mg1k import mg1k
from qtheory.stations.mgc import mgc, mgc_side_by_side
from qtheory.stations.mgck import mgck, mgck_side_by_side
from qtheory.stations.mmc import mmc, mmck
from qtheory.stations.mphc import mphc, mphck
from qtheory.stations.peaked import equivalent_random, equivalent_source, hayward
from qtheory.stations.square_root import halfin_whitt, square_root_staffing
from qtheory.stations.station import Station

__all__ = [
    "BusyPeriod",
    "Station",
    "busy_period",
    "engset",
    "equivalent_random",
    "equivalent_source",
    "erlang_b",
    "erlang_b_gradient",
    "erlang_c",
    "erlang_c_gradient",
    "finite_source",
    "halfin_whitt",
    "hayward",
    "load_for_blocking",
    "load_for_delay",
    "mapphc",
    "mdc",
    "mg1",
    "mg1_wait_moments",
    "mg1k",
    "mgc",
    "mgc_side_by_side",
    "mgcc",
    "mgck",
    "mgck_side_by_side",
    "mginf",
    "mmc",
    "mmck",
    "mphc",
    "mphck",
    "servers_for_blocking",
    "servers_for_delay",
    "square_root_staffing",
]
