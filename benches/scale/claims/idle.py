"""What a connection costs that asked once and may ask again."""

import contextlib
import socket
import time
from dataclasses import dataclass

from harness.failure import Failure
from harness.processes import Server

from .plan import Plan
from .report import Claim, Verdict
from .rig import Load, Rig, chatling_case, raw, upstream, verified


@dataclass(frozen=True)
class Asked:
    title: str
    messages: int
    bound_kib: int


ASKED = {
    "small": Asked("a small answer", 2, 16),
    # Nothing of an answer of 139 KiB stays, but the connection's two buffers of 8 KiB are resident in whole.
    "large": Asked("a large answer", 189, 24),
}

SETTLE_SECONDS = 1.0

LIMITS = """
max_connections = 20000
idle_timeout = "600s"
"""


def ask(connection: socket.socket, request: bytes, length: int) -> None:
    connection.sendall(request)
    received = bytearray()
    while (head := received.find(b"\r\n\r\n")) < 0 or len(received) < head + 4 + length:
        piece = connection.recv(1 << 18)
        if not piece:
            raise Failure("the gateway closed a connection that it should keep")
        received += piece
    if not received.startswith(b"HTTP/1.1 200 ") or len(received) != head + 4 + length:
        raise Failure(f"another answer than the one that was verified: {bytes(received[:200])!r}")


def settled_kib(gateway: Server) -> float:
    time.sleep(SETTLE_SECONDS)
    return gateway.memory_mib("VmRSS") * 1024


def one_size(rig: Rig, plan: Plan, size: str) -> tuple[float, float]:
    """Resident KiB before the connections, and with them."""
    case = chatling_case(size, "8977617954", ASKED[size].messages)
    with contextlib.ExitStack() as running:
        vendor = running.enter_context(rig.vendor([case]))
        gateway = running.enter_context(rig.gateway(f"idle-{size}", upstream(vendor.port), LIMITS))
        length = verified(gateway, case)
        # What it takes to work at all is not the connections'.
        Load.of(gateway, vendor, case, length).cpu_us(0.5)
        before = settled_kib(gateway)
        request = raw(case.canonical, gateway.port)
        connections = []
        for _ in range(plan.connections):
            connection = running.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=20))
            connections.append(connection)
            ask(connection, request, length)
        after = settled_kib(gateway)
        # They were all there: the first, the last and some between still answer.
        for connection in [*connections[:: max(1, plan.connections // 50)], connections[-1]]:
            ask(connection, request, length)
        return before, after


def measure(rig: Rig, plan: Plan) -> Claim:
    rows = [["each asked once for", "KiB before", f"KiB with {plan.connections:,}", "KiB for each"]]
    verdicts = []
    for size, asked in ASKED.items():
        before, after = one_size(rig, plan, size)
        each = (after - before) / plan.connections
        rows.append([asked.title, f"{before:,.0f}", f"{after:,.0f}", f"{each:.1f}"])
        verdicts.append(Verdict(f"an idle connection after {asked.title}", f"{each:.1f} KiB", f"{asked.bound_kib} KiB", each <= asked.bound_kib))
    return Claim("Memory of idle connections", rows, verdicts)
