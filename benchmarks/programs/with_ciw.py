"""Ciw: a network of one node."""

import ciw


def simulate(k, rate, probabilities, means, servers, capacity, requests):
    service = (
        ciw.dists.HyperExponential([1.0 / mean for mean in means], probabilities)
        if len(means) > 1
        else ciw.dists.Exponential(1.0 / means[0])
    )
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate)],
        service_distributions=[service],
        number_of_servers=[servers],
        queue_capacities=[float("inf") if capacity is None else capacity - servers],
    )
    ciw.seed(k)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(requests, method="Arrive")
    waits = [record.waiting_time for record in simulation.get_all_records() if record.record_type == "service"]
    return sum(waits) / len(waits)
