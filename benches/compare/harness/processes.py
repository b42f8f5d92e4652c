"""Processes: started on a chosen core, watched through /proc, always stopped by the id that they were started with."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .failure import Failure

START_LIMIT = 20.0
"""Seconds in which a contestant must give its first answer."""

STOP_LIMIT = 5.0


@dataclass(frozen=True)
class Answer:
    status: int
    content_type: str
    body: bytes


class Server:
    """A process that answers on a port of the loopback, with all that it starts."""

    def __init__(self, name: str, command: Sequence[str | Path], env: dict[str, str], core: int, port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self.log = log
        with log.open("wb") as output:
            self.started = time.perf_counter()
            self.process = subprocess.Popen(
                [str(word) for word in command],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )

    def first_answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[Answer, float]:
        """Asks until there is an answer; also tells how many milliseconds that took from the start of the process."""
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                answer = self.ask(method, path, body, headers)
                return answer, (time.perf_counter() - self.started) * 1000
            if self.process.poll() is not None or time.perf_counter() - self.started > START_LIMIT:
                raise Failure(f"{self.name} did not start")
            time.sleep(0.0005)

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers.get("content-type", ""), response.read())
        finally:
            connection.close()

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def tree(self) -> list[int]:
        """The ids of this process and everything below it."""
        found = [self.process.pid]
        for parent in found:
            for thread in tasks(parent):
                with contextlib.suppress(OSError):
                    found += map(int, (thread / "children").read_text().split())
        return found

    def cpu_us(self) -> float:
        """What the scheduler has given to every thread of the tree so far, kernel work included."""
        return sum(scheduled_ns(thread) for process in self.tree() for thread in tasks(process)) / 1000

    def memory_mib(self, field: str) -> float:
        """`VmRSS` (now) or `VmHWM` (the peak since the last reset), added up over the tree."""
        return sum(status_kib(process, field) for process in self.tree()) / 1024

    def reset_peak_memory(self) -> None:
        for process in self.tree():
            Path(f"/proc/{process}/clear_refs").write_text("5")

    def move_to(self, core: int) -> None:
        for process in self.tree():
            for thread in tasks(process):
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread.name), {core})

    def stop(self) -> None:
        """Stops the process; what it leaves behind in its own session is ended with it."""
        self.process.terminate()
        try:
            self.process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Upstream(Server):
    """The static vendor."""

    def counters(self) -> dict[str, int]:
        counters: dict[str, int] = json.loads(self.ask("GET", "/-/counters").body)
        return counters


def tasks(process: int) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        yield from Path(f"/proc/{process}/task").iterdir()


def scheduled_ns(thread: Path) -> int:
    with contextlib.suppress(OSError):
        return int((thread / "schedstat").read_text().split()[0])
    return 0


def status_kib(process: int, field: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
    return 0
