"""The report: what a trace's workload does to a shared engine, in numbers, pictures and plain sentences."""
