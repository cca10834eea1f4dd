"""Figures of a trace gathered in one pass, in memory that does not grow with it: one idea a file.

Each file has a tally that takes a block of requests at a time and is asked for its figures at the end:

    streams.py      a block's arrivals sorted out: all disks together, then each disk
    intervals.py    times between arrivals: variability, autocorrelation, the clock's resolution
    dispersion.py   counts in windows from 1 µs up: index of dispersion, Hurst exponent
    together.py     which disks burst together
    timeline.py     rate over time
    outstanding.py  requests between arrival and completion
    times.py        the laws of response and service times
    sizes.py        the mix of operations and sizes

Times are compared in whole nanoseconds, so that equal time stamps stay equal after subtraction, and counts are whole
numbers: however the trace is cut into blocks, the figures are the same (floating-point sums to their rounding).
The loops are compiled by numba, which loads when this package does.
"""
