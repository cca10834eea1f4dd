"""Numerics under all of it, one algorithm a file: merging, birth-death and level chains, uniformization, ..."""
