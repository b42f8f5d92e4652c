"""How much is measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    rounds: int
    """Of every load; what is shown is the median."""
    growth_seconds: float
    routes_seconds: float
    """Of one load in one round."""
    in_flight: int
    offered: int
    connections: int
    upstreams: int
    routes: int


FULL = Plan(rounds=7, growth_seconds=1.0, routes_seconds=0.6, in_flight=256, offered=1000, connections=10_000, upstreams=1000, routes=10_000)
QUICK = Plan(rounds=1, growth_seconds=0.2, routes_seconds=0.2, in_flight=32, offered=100, connections=500, upstreams=100, routes=1000)
