"""The measurement: contestants take turns on one core, the load and the upstream stay on another."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .cases import CASES, Case
from .contestants import CONTESTANTS, Contestant, Ports, environment, free_ports
from .failure import Failure
from .install import BUILD
from .processes import Server, Upstream
from .verify import check_answer, check_refusals, headers_of, request_of

SETTLE_SECONDS = 0.15
"""Between the first answer and the reading of the memory at rest."""


@dataclass(frozen=True)
class Mode:
    name: str
    title: str
    connections: int
    rate: int = 0
    """Requests a second; 0 is a closed loop."""
    one_core: bool = False


MODES = (
    Mode("c1", "1 connection", 1),
    Mode("c16", "16 connections", 16),
    Mode("c64", "64 connections", 64),
    Mode("open", "open loop, 1000 requests/s", 64, rate=1000),
    Mode("onecore", "1 connection, everything on one core", 1, one_core=True),
)

OPEN_LOOP_CASES = ("small",)

HELD = 0.95
"""An open loop answered below this share of its rate was not held, and its latencies say nothing."""


def modes_of(case: Case) -> list[Mode]:
    return [mode for mode in MODES if mode.rate == 0 or case.name in OPEN_LOOP_CASES]


@dataclass(frozen=True)
class Plan:
    contestants: list[str]
    cases: list[str]
    repetitions: int
    seconds: float
    warm_seconds: float
    limit_seconds: float


Turn = dict[str, Any]
Repetition = dict[str, dict[str, Turn]]


@dataclass
class Bench:
    plan: Plan
    gateway_core: int
    load_core: int
    upstream: Upstream = field(init=False)
    ports: Ports = field(init=False)

    @staticmethod
    def on_two_cores(plan: Plan) -> "Bench":
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise Failure("two cores are needed: one for the gateway, one for the load and the upstream")
        return Bench(plan, gateway_core=cores[0], load_core=cores[1])

    def run(self) -> list[Repetition]:
        os.sched_setaffinity(0, {self.load_core})
        for folder in ("logs", "requests"):
            (BUILD / folder).mkdir(exist_ok=True)
        self.ports = Ports(*free_ports(3))
        self.start_upstream()
        try:
            return self.repetitions()
        finally:
            self.upstream.stop()

    def start_upstream(self) -> None:
        routes: list[str] = []
        for case in CASES.values():
            body, answer = BUILD / "requests" / f"{case.name}.vendor-request", BUILD / "requests" / f"{case.name}.vendor-answer"
            body.write_bytes(case.vendor.body)
            answer.write_bytes(case.answer)
            routes += [case.vendor.path, case.vendor.authorization or "", str(body), str(answer)]
        command: list[str | Path] = [BUILD / "upstream", str(self.ports.upstream), *routes]
        self.upstream = Upstream("upstream", command, {}, self.load_core, self.ports.upstream, BUILD / "logs/upstream")
        self.upstream.first_answer("GET", "/-/counters", b"", {})

    def repetitions(self) -> list[Repetition]:
        done: list[Repetition] = []
        started = time.monotonic()
        for number in range(self.plan.repetitions):
            elapsed = time.monotonic() - started
            if done and elapsed + elapsed / len(done) > self.plan.limit_seconds:
                say(f"stopping after {len(done)} repetitions: another would pass the limit of {self.plan.limit_seconds:.0f} s")
                break
            done.append(self.repetition(number))
        return done

    def repetition(self, number: int) -> Repetition:
        result: Repetition = {}
        for case_number, case_name in enumerate(self.plan.cases):
            first = (number + case_number) % len(self.plan.contestants)
            turns = {}
            for name in self.plan.contestants[first:] + self.plan.contestants[:first]:
                say(f"repetition {number + 1} of {self.plan.repetitions}, {case_name}: {name}")
                turns[name] = self.turn(CONTESTANTS[name], CASES[case_name], is_first=number == 0)
            result[case_name] = turns
        return result

    def turn(self, contestant: Contestant, case: Case, *, is_first: bool) -> Turn:
        if contestant.start is None:
            return self.loads(contestant, case, self.upstream)
        start = contestant.start(self.ports)
        log = BUILD / "logs" / contestant.name
        server = Server(contestant.name, start.command, environment(start), self.gateway_core, self.ports.gateway, log)
        try:
            request = request_of(contestant, case)
            answer, cold_ms = server.first_answer("PATCH", request.path, request.body, headers_of(request))
            self.check_upstream(contestant.name)
            check_answer(contestant, case, answer)
            if is_first and contestant.translates:
                check_refusals(contestant, case, server)
            time.sleep(SETTLE_SECONDS)
            rest_mib = server.memory_mib("VmRSS")
            server.reset_peak_memory()
            turn = self.loads(contestant, case, server)
            return {**turn, "cold_ms": cold_ms, "rest_mib": rest_mib, "peak_mib": server.memory_mib("VmHWM")}
        except Failure as failure:
            raise Failure(f"{failure}\n{server.tail()}".strip()) from failure
        finally:
            server.stop()

    def loads(self, contestant: Contestant, case: Case, server: Server) -> Turn:
        """Every mode of a case on a started contestant."""
        request = request_of(contestant, case)
        body_length = len(server.ask("PATCH", request.path, request.body, headers_of(request)).body)
        file = BUILD / "requests" / f"{case.name}.{contestant.name}"
        file.write_bytes(request.raw(server.port))
        load = [str(server.port), str(file), str(body_length)]

        self.load(server, load, Mode("warm", "", 16), self.plan.warm_seconds)
        turn: Turn = {}
        for mode in modes_of(case):
            if mode.one_core and server is not self.upstream:
                server.move_to(self.load_core)
            cpu_before = server.cpu_us()
            measured = self.load(server, load, mode, self.plan.seconds)
            cpu = (server.cpu_us() - cpu_before) / measured["answered"]
            held = measured["answered"] >= HELD * mode.rate * self.plan.seconds
            turn[mode.name] = {
                "rps": measured["answered"] / measured["seconds"],
                "p50_us": measured["p50_us"] if held else None,
                "p99_us": measured["p99_us"] if held else None,
                "cpu_us": None if server is self.upstream else cpu,
            }
            if mode.name == "c64" and server is not self.upstream:
                turn["c64_mib"] = server.memory_mib("VmRSS")
        return turn

    def load(self, server: Server, load: list[str], mode: Mode, seconds: float) -> dict[str, float]:
        """One load; the upstream must have answered every request of it, and found none that differs."""
        port, file, body_length = load
        before = self.upstream.counters()
        finished = subprocess.run(
            [BUILD / "load", port, str(mode.connections), str(seconds), str(mode.rate), file, body_length],
            check=False,
            capture_output=True,
            text=True,
            timeout=seconds + 60,
        )
        after = self.check_upstream(server.name)
        if finished.returncode:
            raise Failure(f"{server.name}, {mode.connections} connections: {finished.stderr.strip()}")
        measured: dict[str, float] = json.loads(finished.stdout)
        if after["answered"] - before["answered"] != measured["answered"]:
            raise Failure(f"{server.name}: the caller got {measured['answered']} answers, the upstream gave {after['answered'] - before['answered']}")
        if not measured["answered"]:
            raise Failure(f"{server.name}, {mode.connections} connections: nothing was answered in {seconds} s")
        return measured

    def check_upstream(self, name: str) -> dict[str, int]:
        """The upstream's counters; a single request that differs from the one it expects ends the run."""
        counters = self.upstream.counters()
        if counters["mismatches"]:
            raise Failure(f"{name}: the upstream was sent {counters['mismatches']} requests that differ:\n{self.upstream.tail()}")
        return counters


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
