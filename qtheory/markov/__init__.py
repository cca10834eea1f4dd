"""Numerics under all of it, one algorithm a file: merging of groups, birth-death chains, uniformization."""
