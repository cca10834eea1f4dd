"""line-solver (LINE): its simulator LDES, its functions of single stations, and the solver MAM of its models."""

import numpy as np
from line_solver import LDES, MAM, Exp, HyperExp, Network, OpenClass, Queue, SchedStrategy, Sink, Source
from line_solver.api.qsys.basic import qsys_mmck
from line_solver.api.qsys.mapphc import qsys_mapphc


def model(rate, probabilities, means, servers, capacity=None):
    network = Network("station")
    source, queue, sink = Source(network, "in"), Queue(network, "station", SchedStrategy.FCFS), Sink(network, "out")
    queue.setNumberOfServers(servers)
    if capacity is not None:
        queue.setCapacity(capacity)
    requests = OpenClass(network, "requests")
    source.setArrival(requests, Exp(rate))
    rates = [1.0 / mean for mean in means]
    queue.setService(requests, HyperExp(probabilities[0], *rates) if len(rates) > 1 else Exp(*rates))
    network.link(Network.serialRouting(source, queue, sink))
    return network


def wait(solver, probabilities, means):
    """The mean wait; a solver gives the mean response."""
    table = solver.getAvgTable()
    (response,) = table["RespT"][table["Station"] == "station"]
    return response - np.dot(probabilities, means)


def simulate(k, rate, probabilities, means, servers, capacity, requests):
    solver = LDES(model(rate, probabilities, means, servers, capacity), samples=requests, seed=1 + k)
    return wait(solver, probabilities, means)


def mam(k, rate, soon, probabilities, means, servers):
    return wait(MAM(model(rate * (1.0 + soon * k), probabilities, means, servers)), probabilities, means)


def mphc(k, rate, soon, probabilities, means, servers):
    rate *= 1.0 + soon * k
    service = -np.diag(1.0 / np.array(means))
    found = qsys_mapphc(np.array([[-rate]]), np.array([[rate]]), np.array(probabilities), service, servers)
    return found.meanWaitingTime


def mmck(k, rate, soon, servers, capacity):
    return qsys_mmck(rate * (1.0 + soon * k), 1.0, servers, capacity)["Wq"]
