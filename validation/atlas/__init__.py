"""The atlas of errors: how far answers of `qt.solve` and `qt.drain_time` are from simulation, on a designed grid."""
