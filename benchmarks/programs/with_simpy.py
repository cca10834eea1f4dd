"""SimPy: c servers as a resource, a process for each request."""

import random

import simpy


def simulate(k, rate, probabilities, means, servers, capacity, requests):
    draw = random.Random(k)
    env = simpy.Environment()
    line = simpy.Resource(env, servers)
    waits = []

    def request():
        came = env.now
        with line.request() as turn:
            yield turn
            waits.append(env.now - came)
            (mean,) = draw.choices(means, probabilities) if len(means) > 1 else means
            yield env.timeout(draw.expovariate(1.0 / mean))

    def source():
        for _ in range(requests):
            yield env.timeout(draw.expovariate(rate))
            if capacity is None or line.count + len(line.queue) < capacity:
                env.process(request())

    env.process(source())
    env.run()
    return sum(waits) / len(waits)
