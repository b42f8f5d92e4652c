"""What a connection costs that asked once and may ask again."""

import contextlib
import socket
import time

from harness.failure import Failure
from harness.processes import Server

from .plan import Plan
from .report import Claim, Verdict
from .rig import Load, Rig, chatling_case, raw, upstream, verified

BOUND_KIB = 16

ANSWERS = {"small": 2, "large": 189}
"""Messages: an answer of some 1 KiB, and one of some 139 KiB, whose buffers must not stay."""

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
    case = chatling_case(size, "8977617954", ANSWERS[size])
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
    for size in ANSWERS:
        before, after = one_size(rig, plan, size)
        each = (after - before) / plan.connections
        rows.append([f"a {size} answer", f"{before:,.0f}", f"{after:,.0f}", f"{each:.1f}"])
        verdicts.append(Verdict(f"an idle connection after a {size} answer", f"{each:.1f} KiB", f"{BOUND_KIB} KiB", each <= BOUND_KIB))
    return Claim("Memory of idle connections", rows, verdicts)
