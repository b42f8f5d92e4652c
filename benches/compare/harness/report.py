"""What is printed: a table for each case, the targets, and one line for machines."""

import json
from typing import Any

from .cases import CASES
from .contestants import CONTESTANTS
from .measure import MODES, modes_of
from .results import LOAD_FIGURES, PROCESS_FIGURES, Results, rounded
from .targets import GATEWAY, TARGETS, verdict

LOAD_HEADINGS = ("requests/s", "added p50 us", "added p99 us", "CPU us/request")
PROCESS_HEADINGS = ("MiB at rest", "MiB at c64", "MiB at peak", "cold start ms")

FIRST_WIDTH = max(len(mode.title) for mode in MODES)
"""So that the sections of a table stand under each other."""

MIN_WIDTH = 7


def number(value: float | None) -> str:
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def grid(rows: list[list[str]]) -> list[str]:
    """Rows as lines: the first column to the left, the others to the right."""
    first, *others = ([max(len(cell), MIN_WIDTH) for cell in column] for column in zip(*rows, strict=True))
    widths = [max(column) for column in others]
    return [
        "  ".join([row[0].ljust(max(*first, FIRST_WIDTH)), *(cell.rjust(width) for cell, width in zip(row[1:], widths, strict=True))]) for row in rows
    ]


def section(results: Results, case: str, title: str, headings: tuple[str, ...], figures: list[str], contestants: list[str]) -> list[str]:
    rows = [[title, *(cell for heading in headings for cell in (heading, "x nginx"))]]
    for name in contestants:
        cells = [CONTESTANTS[name].title]
        for figure in figures:
            cells += [number(results.median(case, name, figure)), number(results.ratio(case, name, figure))]
        rows.append(cells)
    return ["", *grid(rows)]


def table(results: Results, name: str) -> list[str]:
    case = CASES[name]
    lines = ["", f"== {name}: {case.title}, an answer of {case.kib:.1f} KiB =="]
    for mode in modes_of(case):
        figures = [f"{mode.name}.{figure}" for figure in LOAD_FIGURES]
        lines += section(results, name, mode.title, LOAD_HEADINGS, figures, results.contestants)
        direct = [results.direct_latency(name, mode.name, figure) for figure in ("p50_us", "p99_us")]
        lines.append(f"(no gateway: p50 {number(direct[0])} us, p99 {number(direct[1])} us)")
    gateways = [contestant for contestant in results.contestants if CONTESTANTS[contestant].start]
    return lines + section(results, name, "process", PROCESS_HEADINGS, list(PROCESS_FIGURES), gateways)


def targets(results: Results) -> list[dict[str, Any]]:
    rows = []
    for target in TARGETS:
        measured = target.measured(results)
        rows.append(
            {
                "what": target.what,
                "unit": target.unit,
                "measured": rounded(measured),
                "must": target.must,
                "goal": target.goal,
                "verdict": verdict(target, measured),
            }
        )
    return rows


def target_lines(rows: list[dict[str, Any]]) -> list[str]:
    cells = [["target", "unit", "measured", "must be <=", "goal <=", "reached"]]
    cells += [[row["what"], row["unit"], number(row["measured"]), number(row["must"]), number(row["goal"]), row["verdict"]] for row in rows]
    return ["", f"== targets of {GATEWAY} ==", "", *grid(cells)]


def text(results: Results) -> str:
    lines = [line for case in results.cases for line in table(results, case)]
    if GATEWAY in results.contestants:
        lines += target_lines(targets(results))
    return "\n".join(lines)


def machine_readable(results: Results) -> dict[str, Any]:
    return {"repetitions": len(results.repetitions), "medians": results.medians(), "targets": targets(results)}


def json_line(results: Results) -> str:
    return json.dumps(machine_readable(results), separators=(",", ":"))


def json_file(results: Results, about: dict[str, Any]) -> str:
    return json.dumps({"about": about, **machine_readable(results), "raw": results.repetitions}, indent=1)
