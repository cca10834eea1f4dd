"""most-queue: its simulator, and its calculators of MAP/PH/c and M/M/n/r."""

import numpy as np
from most_queue.random.map_ph import MAPParams, PHParams
from most_queue.random.utils.params import H2Params
from most_queue.sim.base import QsSim
from most_queue.theory.fifo.mmnr import MMnrCalc
from most_queue.theory.matrix.map_phc import MapPhCCalc


def simulate(k, rate, probabilities, means, servers, capacity, requests):
    queue = QsSim(servers, buffer=None if capacity is None else capacity - servers, verbose=False, seed=k)
    queue.set_sources(rate, "M")
    if len(means) > 1:
        queue.set_servers(H2Params(p1=probabilities[0], mu1=1.0 / means[0], mu2=1.0 / means[1]), "H")
    else:
        queue.set_servers(1.0 / means[0], "M")
    return queue.run(requests).w[0]


def mphc(k, rate, soon, probabilities, means, servers):
    rate *= 1.0 + soon * k
    queue = MapPhCCalc(n=servers)
    queue.set_sources(MAPParams(D0=np.array([[-rate]]), D1=np.array([[rate]])))
    queue.set_servers(PHParams(alpha=np.array(probabilities), T=-np.diag(1.0 / np.array(means))))
    return queue.run().w[0]


def mmck(k, rate, soon, servers, capacity):
    queue = MMnrCalc(n=servers, r=capacity - servers)
    queue.set_sources(rate * (1.0 + soon * k))
    queue.set_servers(1.0)
    return queue.run().w[0]
