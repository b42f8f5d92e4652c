"""What requests in flight take at most."""

import contextlib
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.cases import Case
from harness.contestants import free_ports
from harness.failure import Failure
from harness.processes import Server, Upstream

from .plan import Plan
from .report import Claim, Verdict
from .rig import WORK, Rig, chatling_case, stopped, upstream

MESSAGES = 1388
MAX_BODY = 64 * 1024

COPIES = 4
"""What docs/operating.md says: each body and answer is there as it came and as it goes on."""

STAYS = 1.25
"""What is refused may cost a connection and the beginning of a body, no more."""

ROOM = 64 * 1024
"""Bytes that a caller's socket takes before the caller reads: few, so that answers wait in the gateway."""

DEADLINE = 60.0


@dataclass(frozen=True)
class Step:
    rest_mib: float
    peak_mib: float
    answered: int
    refused: int


def until(what: str, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not done():
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not after {DEADLINE:.0f} s")
        time.sleep(0.05)


@contextlib.contextmanager
def holding_vendor(rig: Rig, case: Case) -> Iterator[Upstream]:
    answer = WORK / f"{case.name}.vendor-answer"
    answer.write_bytes(case.answer)
    (port,) = free_ports(1)
    script = Path(__file__).with_name("holding.py")
    vendor = Upstream("holding", [sys.executable, script, str(port), answer], {}, rig.load_core, port, WORK / "holding.log")
    with stopped(vendor):
        vendor.first_answer("GET", "/-/counters", b"", {})
        yield vendor


def request_of(case: Case, port: int) -> bytes:
    """As large as a request may be: blanks are JSON too."""
    head = [f"PATCH {case.canonical.path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Type: application/json", f"Content-Length: {MAX_BODY}", "", ""]
    return "\r\n".join(head).encode() + case.canonical.body.ljust(MAX_BODY)


def readable(callers: list[socket.socket]) -> list[socket.socket]:
    poll = select.poll()
    found = {caller.fileno(): caller for caller in callers}
    for number in found:
        poll.register(number, select.POLLIN)
    return [found[number] for number, _ in poll.poll(0)]


def status_of(caller: socket.socket) -> int:
    """Reads one answer to its end."""
    received = bytearray()
    while b"\r\n\r\n" not in received:
        piece = caller.recv(1 << 18)
        if not piece:
            raise Failure("a connection ended without an answer")
        received += piece
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
    left = int(fields["content-length"]) - len(body)
    while left:
        piece = caller.recv(min(left, 1 << 18))
        if not piece:
            raise Failure(f"an answer ended {left} bytes too early")
        left -= len(piece)
    return int(head.split()[1])


def offer(running: contextlib.ExitStack, port: int, request: bytes, count: int) -> list[socket.socket]:
    callers = []
    for _ in range(count):
        caller = running.enter_context(socket.socket())
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        caller.settimeout(DEADLINE)
        caller.connect(("127.0.0.1", port))
        caller.sendall(request)
        callers.append(caller)
    return callers


def wait_for_calm(gateway: Server) -> None:
    """Until nothing is done any more for callers that do not read."""
    seen = -1.0
    deadline = time.monotonic() + DEADLINE
    while (now := gateway.cpu_us()) - seen > 20_000:
        if time.monotonic() > deadline:
            raise Failure("the gateway does not come to rest")
        seen = now
        time.sleep(1)


def step(rig: Rig, plan: Plan, case: Case, offered: int) -> Step:
    limits = f'max_in_flight = {plan.in_flight}\nmax_body = "{MAX_BODY}B"'
    with contextlib.ExitStack() as running:
        vendor = running.enter_context(holding_vendor(rig, case))
        more = f'max_response = "{len(case.answer)}B"\nmax_in_flight = {offered}\ntimeout = "120s"'
        gateway = running.enter_context(rig.gateway(f"in-flight-{offered}", upstream(vendor.port, more=more), limits))
        gateway.first_answer("PATCH", "/conversations/nowhere", b"{}", {"Content-Type": "application/json"})
        rest = gateway.memory_mib("VmRSS")
        gateway.reset_peak_memory()

        callers = offer(running, gateway.port, request_of(case, gateway.port), offered)
        until(f"the vendor holds {plan.in_flight} requests", lambda: vendor.counters()["held"] >= plan.in_flight)
        until(f"{offered - plan.in_flight} requests are refused", lambda: len(readable(callers)) >= offered - plan.in_flight)
        refused = readable(callers)
        vendor.ask("POST", "/-/release")
        until("every answer has come", lambda: vendor.counters()["sent"] == plan.in_flight)
        wait_for_calm(gateway)
        statuses = [status_of(caller) for caller in callers]
        early = {status for caller, status in zip(callers, statuses, strict=True) if caller in refused}
        if statuses.count(200) + statuses.count(503) != offered or early - {503}:
            raise Failure(f"other answers than 200 and 503: {sorted(set(statuses))}, before any answer of the vendor: {early}")
        return Step(rest, gateway.memory_mib("VmHWM"), statuses.count(200), statuses.count(503))


def measure(rig: Rig, plan: Plan) -> Claim:
    case = chatling_case("held", "8977617955", MESSAGES)
    share = (MAX_BODY + len(case.answer)) / 2**20
    steps = [step(rig, plan, case, offered) for offered in (plan.in_flight, plan.offered)]

    rows = [["offered at once", "answered", "refused (503)", "MiB at rest", "MiB at the peak", "MiB for each", "bound, MiB"]]
    verdicts = []
    for offered, done in zip((plan.in_flight, plan.offered), steps, strict=True):
        bound = done.rest_mib + COPIES * plan.in_flight * share
        each = (done.peak_mib - done.rest_mib) / plan.in_flight
        cells = [f"{done.rest_mib:.1f}", f"{done.peak_mib:.0f}", f"{each:.2f}", f"{bound:.0f}"]
        rows.append([f"{offered:,} of {share:.2f} MiB", str(done.answered), str(done.refused), *cells])
        kept = done.peak_mib <= bound and done.answered == plan.in_flight
        verdicts.append(Verdict(f"{done.answered} in flight, {done.refused} refused", f"{done.peak_mib:.0f} MiB", f"{bound:.0f} MiB", kept))
    ratio = steps[1].peak_mib / steps[0].peak_mib
    verdicts.append(Verdict(f"memory with {plan.offered:,} offered over {plan.in_flight}", f"{ratio:.2f}", f"{STAYS}", ratio <= STAYS))
    return Claim(f"Memory of requests in flight, max_in_flight = {plan.in_flight}", rows, verdicts)
