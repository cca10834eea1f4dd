"""What qtheory costs, beside the bare kernels that bound it from below and beside its peers: `python -m benchmarks`."""
