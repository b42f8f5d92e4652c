"""The gateway, the static vendor and the load, each on its core; all are stopped at the end."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import cases
from harness.cases import Case, Request
from harness.contestants import CONTESTANTS, free_ports
from harness.failure import Failure
from harness.install import BUILD, ROOT
from harness.processes import Server, Upstream
from harness.verify import check_answer, headers_of

WORK = ROOT / "target" / "scale"
PARLANCE = ROOT / "target/release/parlance"

GATEWAY = """
[log]
access = false

[admin]
listen = "127.0.0.1:{admin}"

[server]
listen = "127.0.0.1:{port}"
workers = 1
{server}
"""

UPSTREAM = """
[upstreams.{name}]
vendor = "chatling"
chatbot_id = "{chatbot}"
base_url = "http://127.0.0.1:{port}"
credential = {{ value = "{key}" }}
{more}
"""


def upstream(port: int, name: str = "support", more: str = "") -> str:
    return UPSTREAM.format(name=name, chatbot=cases.CHATBOT_ID, key=cases.SUPPORT_KEY, port=port, more=more)


def chatling_case(name: str, conversation: str, messages: int) -> Case:
    """An answer of so many messages, two of which have about 1.5 KiB."""
    return cases.chatling_case(name, conversation, messages, paragraphs=2)


def raw(request: Request, port: int, more: str = "") -> bytes:
    """A request with further header lines."""
    line, rest = request.raw(port).split(b"\r\n", 1)
    return line + b"\r\n" + more.encode() + rest


@dataclass
class Rig:
    gateway_core: int
    load_core: int

    @staticmethod
    def on_two_cores() -> "Rig":
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise Failure("two cores are needed: one for the gateway, one for the load and the upstream")
        WORK.mkdir(parents=True, exist_ok=True)
        os.sched_setaffinity(0, {cores[1]})
        return Rig(gateway_core=cores[0], load_core=cores[1])

    @staticmethod
    def version() -> str:
        return subprocess.run([PARLANCE, "--version"], check=True, capture_output=True, text=True).stdout.strip()

    @contextlib.contextmanager
    def vendor(self, answers: Sequence[Case]) -> Iterator[Upstream]:
        """A vendor that checks every request to the byte and answers at once."""
        routes: list[str] = []
        for case in answers:
            body, answer = WORK / f"{case.name}.vendor-request", WORK / f"{case.name}.vendor-answer"
            body.write_bytes(case.vendor.body)
            answer.write_bytes(case.answer)
            routes += [case.vendor.path, case.vendor.authorization or "", str(body), str(answer)]
        (port,) = free_ports(1)
        server = Upstream("upstream", [BUILD / "upstream", str(port), *routes], {}, self.load_core, port, WORK / "upstream.log")
        with stopped(server):
            server.first_answer("GET", "/-/counters", b"", {})
            yield server

    @contextlib.contextmanager
    def gateway(self, name: str, upstreams: str, server: str = "", head: str = "") -> Iterator[Server]:
        port, admin = free_ports(2)
        config = WORK / f"{name}.toml"
        config.write_text(head + GATEWAY.format(port=port, admin=admin, server=server) + upstreams)
        gateway = Server(name, [PARLANCE, "serve", "--config", config], {}, self.gateway_core, port, WORK / f"{name}.log")
        with stopped(gateway):
            try:
                yield gateway
            except Failure as failure:
                raise Failure(f"{name}: {failure}\n{gateway.tail()}".strip()) from failure


@contextlib.contextmanager
def stopped(server: Server) -> Iterator[None]:
    try:
        yield
    finally:
        server.stop()


def verified(gateway: Server, case: Case, headers: dict[str, str] | None = None) -> int:
    """Asks until there is an answer, which must be the canonical Conversation. Gives its length."""
    answer, _ = gateway.first_answer("PATCH", case.canonical.path, case.canonical.body, {**headers_of(case.canonical), **(headers or {})})
    check_answer(CONTESTANTS["parlance"], case, answer)
    return len(answer.body)


@dataclass(frozen=True)
class Load:
    """One request, sent again and again over kept-alive connections; every answer is counted on both sides."""

    gateway: Server
    vendor: Upstream
    request: Path
    length: int
    connections: int = 1

    @staticmethod
    def of(gateway: Server, vendor: Upstream, case: Case, length: int, more: str = "") -> "Load":
        file = WORK / f"{case.name}.{gateway.name}"
        file.write_bytes(raw(case.canonical, gateway.port, more))
        return Load(gateway, vendor, file, length)

    def cpu_us(self, seconds: float) -> float:
        """CPU of the gateway for one request."""
        answered, cpu = self.vendor.counters()["answered"], self.gateway.cpu_us()
        command = [BUILD / "load", str(self.gateway.port), str(self.connections), str(seconds), "0", self.request, str(self.length)]
        finished = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + 60)
        cpu = self.gateway.cpu_us() - cpu
        if finished.returncode:
            raise Failure(finished.stderr.strip())
        got = json.loads(finished.stdout)["answered"]
        counters = self.vendor.counters()
        if counters["mismatches"] or counters["answered"] - answered != got or not got:
            raise Failure(f"the caller got {got} answers, the vendor says {counters}, before it had given {answered}\n{self.vendor.tail()}")
        return float(cpu / got)
