"""Figures out of the repetitions: differences and ratios are taken inside a repetition, and only then the median."""

from collections.abc import Callable
from statistics import median
from typing import Any

from .cases import CASES
from .measure import Repetition, modes_of

BASELINE = "nginx"

LOAD_FIGURES = ("rps", "added_p50_us", "added_p99_us", "cpu_us")
PROCESS_FIGURES = ("rest_mib", "c64_mib", "peak_mib", "cold_ms")


def figures_of(case: str) -> list[str]:
    return [f"{mode.name}.{figure}" for mode in modes_of(CASES[case]) for figure in LOAD_FIGURES] + list(PROCESS_FIGURES)


class Results:
    def __init__(self, repetitions: list[Repetition], contestants: list[str], cases: list[str]) -> None:
        self.repetitions = repetitions
        self.contestants = contestants
        self.cases = cases

    def median(self, case: str, contestant: str, figure: str) -> float | None:
        return self.over_repetitions(lambda repetition: value(repetition, case, contestant, figure))

    def ratio(self, case: str, contestant: str, figure: str, over: str = BASELINE) -> float | None:
        def inside(repetition: Repetition) -> float | None:
            one, other = value(repetition, case, contestant, figure), value(repetition, case, over, figure)
            return None if one is None or other is None or other <= 0 else one / other

        return self.over_repetitions(inside)

    def direct_latency(self, case: str, mode: str, figure: str) -> float | None:
        return self.over_repetitions(lambda repetition: repetition[case]["direct"][mode][figure])

    def growth_ns_per_kib(self, contestant: str) -> float | None:
        """CPU for each further KiB of answer, between the two Chatling cases at 64 connections."""
        kib = CASES["large"].kib - CASES["medium"].kib

        def inside(repetition: Repetition) -> float | None:
            large, medium = (value(repetition, case, contestant, "c64.cpu_us") for case in ("large", "medium"))
            return None if large is None or medium is None else (large - medium) * 1000 / kib

        return self.over_repetitions(inside)

    def over_repetitions(self, inside: Callable[[Repetition], float | None]) -> float | None:
        found = [result for repetition in self.repetitions if (result := inside(repetition)) is not None]
        return median(found) if found else None

    def medians(self) -> dict[str, Any]:
        def entry(case: str, contestant: str, figure: str) -> dict[str, float | None]:
            return {"median": rounded(self.median(case, contestant, figure)), "x_nginx": rounded(self.ratio(case, contestant, figure))}

        return {case: {name: {figure: entry(case, name, figure) for figure in figures_of(case)} for name in self.contestants} for case in self.cases}


def value(repetition: Repetition, case: str, contestant: str, figure: str) -> float | None:
    """One figure of one repetition; None where it was not measured."""
    turn: dict[str, Any] | None = repetition.get(case, {}).get(contestant)
    if turn is None:
        return None
    mode, _, name = figure.rpartition(".")
    measured: dict[str, float | None] = turn[mode] if mode else turn
    if not name.startswith("added_"):
        return measured.get(name)
    latency = name.removeprefix("added_")
    mine, direct = measured[latency], repetition[case]["direct"][mode][latency]
    return None if contestant == "direct" or mine is None or direct is None else mine - direct


def rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)
