"""What parlance has set itself, in terms that do not depend on the machine where they can."""

from collections.abc import Callable
from dataclasses import dataclass

from .install import ROOT
from .results import Results

GATEWAY = "parlance"


@dataclass(frozen=True)
class Target:
    what: str
    unit: str
    must: float
    """Above this the gateway has failed its users."""
    goal: float
    """At or below this it does what the measured prototypes say is possible."""
    measured: Callable[[Results], float | None]


def median(case: str, figure: str) -> Callable[[Results], float | None]:
    return lambda results: results.median(case, GATEWAY, figure)


def ratio(case: str, figure: str, over: str) -> Callable[[Results], float | None]:
    return lambda results: results.ratio(case, GATEWAY, figure, over)


def binary_mib(results: Results) -> float | None:
    return (ROOT / "target/release/parlance").stat().st_size / 2**20 if GATEWAY in results.contestants else None


TARGETS = (
    # CPU of the whole process for one translated request, against a proxy that only passes bytes: what the translation costs at all.
    Target("CPU small, 64 connections", "x nginx", 1.8, 1.4, ratio("small", "c64.cpu_us", "nginx")),
    Target("CPU small, one core", "x nginx", 1.8, 1.4, ratio("small", "onecore.cpu_us", "nginx")),
    # The same against what people would write instead: a script inside nginx, a small Node service.
    Target("CPU small, 64 connections", "x njs", 0.42, 0.33, ratio("small", "c64.cpu_us", "njs")),
    Target("CPU small, one core", "x njs", 0.42, 0.33, ratio("small", "onecore.cpu_us", "njs")),
    Target("CPU small, 64 connections", "x node", 0.27, 0.21, ratio("small", "c64.cpu_us", "node")),
    Target("CPU small, one core", "x node", 0.27, 0.21, ratio("small", "onecore.cpu_us", "node")),
    # Messages reversed, flags turned to booleans.
    Target("CPU medium, 64 connections", "x nginx", 1.9, 1.5, ratio("medium", "c64.cpu_us", "nginx")),
    # An answer so large that reading and writing JSON is what it costs.
    Target("CPU large, 64 connections", "x nginx", 4, 2, ratio("large", "c64.cpu_us", "nginx")),
    Target("CPU large, 64 connections", "x njs", 0.2, 0.1, ratio("large", "c64.cpu_us", "njs")),
    # What each further KiB of answer costs, socket work included.
    Target("CPU growth with the answer", "ns/KiB", 2400, 1100, lambda results: results.growth_ns_per_kib(GATEWAY)),
    # What a caller waits longer than without a gateway. The path itself shows on one core; queues and stalls show in the 99th percentile.
    Target("added p50 small, one core", "x nginx", 1.7, 1.3, ratio("small", "onecore.added_p50_us", "nginx")),
    Target("added p99 small, 64 connections", "x nginx", 1.5, 1.1, ratio("small", "c64.added_p99_us", "nginx")),
    Target("added p99 small, 1000 requests/s", "x nginx", 1.5, 1.1, ratio("small", "open.added_p99_us", "nginx")),
    # Resident memory: idle, after 64 connections of small answers, at the peak of large ones.
    Target("memory at rest", "MiB", 16, 8, median("small", "rest_mib")),
    Target("memory at 64 connections, small", "MiB", 24, 12, median("small", "c64_mib")),
    Target("memory at the peak, large", "MiB", 32, 16, median("large", "peak_mib")),
    # From the start of the process to the end of its first answer: what a deployment or a restart costs.
    Target("cold start to first answer", "ms", 40, 15, median("small", "cold_ms")),
    # All that has to be shipped.
    Target("size of the binary", "MiB", 15, 9, binary_mib),
)


def verdict(target: Target, measured: float | None) -> str:
    if measured is None:
        return "not measured"
    if measured <= target.goal:
        return "goal"
    return "must" if measured <= target.must else "MISSED"
