"""Service-time laws: the protocol every solver talks to, and the laws that follow it."""

from qtheory.laws.exponential import Exponential
from qtheory.laws.law import Law

__all__ = ["Exponential", "Law"]
