"""Who takes part, and how each is configured and started."""

import os
import shutil
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import cases
from .install import BUILD, HERE, ROOT

PEERS = BUILD / "peers"


@dataclass(frozen=True)
class Start:
    """What it takes to start a contestant."""

    command: Sequence[str | Path]
    env: dict[str, str]


@dataclass(frozen=True)
class Contestant:
    name: str
    title: str
    translates: bool
    start: Callable[["Ports"], Start] | None
    """None for direct: there is nothing between the load and the upstream."""


@dataclass(frozen=True)
class Ports:
    gateway: int
    admin: int
    upstream: int


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def render(folder: str, ports: Ports) -> Path:
    """Copies a peer's files to the build folder, its `@NAMES@` filled in."""
    target = PEERS / folder
    target.mkdir(parents=True, exist_ok=True)
    values = {
        "PEERS": PEERS,
        "DIRECTORY": target,
        "PORT": ports.gateway,
        "ADMIN_PORT": ports.admin,
        "UPSTREAM_PORT": ports.upstream,
        "CHATBOT_ID": cases.CHATBOT_ID,
        "SMS_KEY": cases.SMS_KEY,
        "SUPPORT_KEY": cases.SUPPORT_KEY,
    }
    for source in (HERE / "peers" / folder).iterdir():
        if source.is_file():
            text = source.read_text()
            for name, value in values.items():
                text = text.replace(f"@{name}@", str(value))
            (target / source.name).write_text(text)
    shutil.copy(HERE / "peers/canonical.mjs", PEERS)
    return target


def settings(ports: Ports) -> dict[str, str]:
    return {
        "PORT": str(ports.gateway),
        "VENDOR_ORIGIN": f"http://127.0.0.1:{ports.upstream}",
        "CHATBOT_ID": cases.CHATBOT_ID,
        "SMS_KEY": cases.SMS_KEY,
        "SUPPORT_KEY": cases.SUPPORT_KEY,
    }


def nginx(folder: str) -> Callable[[Ports], Start]:
    def start(ports: Ports) -> Start:
        return Start(["nginx", "-e", "stderr", "-c", render(folder, ports) / "nginx.conf"], {})

    return start


def haproxy(ports: Ports) -> Start:
    return Start(["haproxy", "-q", "-db", "-f", render("haproxy", ports) / "haproxy.cfg"], {})


def node(ports: Ports) -> Start:
    return Start(["node", render("node", ports) / "translator.js"], settings(ports))


def fastapi(ports: Ports) -> Start:
    uvicorn: list[str | Path] = [BUILD / "venv/bin/python", "-m", "uvicorn", "translator:app", "--app-dir", render("fastapi", ports)]
    options = ["--host", "127.0.0.1", "--port", str(ports.gateway), "--workers", "1", "--loop", "uvloop", "--http", "httptools"]
    return Start([*uvicorn, *options, "--no-access-log", "--log-level", "warning"], settings(ports))


def parlance(ports: Ports) -> Start:
    config = render("parlance", ports) / "parlance.toml"
    return Start([ROOT / "target/release/parlance", "serve", "--config", config], {"PARLANCE__SERVER__WORKERS": "1"})


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant("direct", "no gateway", translates=False, start=None),
        Contestant("nginx", "nginx, plain proxy", translates=False, start=nginx("nginx")),
        Contestant("njs", "nginx + njs", translates=True, start=nginx("nginx-njs")),
        Contestant("haproxy", "HAProxy, plain proxy", translates=False, start=haproxy),
        Contestant("node", "Node, node:http + undici", translates=True, start=node),
        Contestant("fastapi", "FastAPI + httpx", translates=True, start=fastapi),
        Contestant("parlance", "parlance", translates=True, start=parlance),
    )
}


def environment(start: Start) -> dict[str, str]:
    """The environment of a contestant: nothing of the caller's but where programs and home are."""
    inherited = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    return {**inherited, "PATH": f"{os.environ['PATH']}:/usr/sbin", **start.env}
