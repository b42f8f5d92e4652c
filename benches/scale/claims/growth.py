"""What each further KiB of an answer costs."""

import contextlib
from statistics import median

from harness.report import number

from .plan import Plan
from .report import Claim, Verdict
from .rig import Load, Rig, chatling_case, upstream, verified

MESSAGES = {"1 KB": 2, "16 KB": 22, "139 KB": 189, "1 MB": 1388, "8 MB": 11_100}

REFERENCE, LARGEST = "139 KB", "8 MB"

BOUND = 1.5
"""8 MB do not fit into the caches of a core, and 139 KB do; a cost that grew with the size would give 60."""


def measure(rig: Rig, plan: Plan) -> Claim:
    answers = {size: chatling_case(size.replace(" ", "-"), f"{89776:05}{messages:05}", messages) for size, messages in MESSAGES.items()}
    with contextlib.ExitStack() as running:
        vendor = running.enter_context(rig.vendor(list(answers.values())))
        gateway = running.enter_context(rig.gateway("growth", upstream(vendor.port, more='max_response = "16MiB"')))
        loads = {size: Load.of(gateway, vendor, case, verified(gateway, case)) for size, case in answers.items()}
        for load in loads.values():
            load.cpu_us(plan.growth_seconds / 2)
        rounds = [{size: load.cpu_us(plan.growth_seconds) for size, load in loads.items()} for _ in range(plan.rounds)]

    smallest, *larger = answers

    def ns_per_kib(measured: dict[str, float], size: str) -> float:
        return (measured[size] - measured[smallest]) * 1000 / (answers[size].kib - answers[smallest].kib)

    rows = [["answer", "KiB", "CPU us/request", "ns/KiB above the smallest"]]
    for size, case in answers.items():
        growth = number(median(ns_per_kib(each, size) for each in rounds)) if size in larger else "-"
        rows.append([f"{MESSAGES[size]:,} messages", number(case.kib), number(median(each[size] for each in rounds)), growth])
    ratio = median(ns_per_kib(each, LARGEST) / ns_per_kib(each, REFERENCE) for each in rounds)
    verdict = Verdict(f"ns/KiB at {LARGEST} over {REFERENCE}", f"{ratio:.2f}", f"{BOUND}", ratio <= BOUND)
    return Claim("CPU by the size of the answer", rows, [verdict])
