"""Installs what the peers need and builds the programs that the benchmark brings along."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from .failure import Failure

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent
BUILD = ROOT / "target" / "compare"
NJS_MODULE = Path("/usr/lib/nginx/modules/ngx_http_js_module.so")
POLICY = Path("/usr/sbin/policy-rc.d")


def has_command(name: str) -> Callable[[], bool]:
    return lambda: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is not None


def can_make_venv() -> bool:
    return subprocess.run([sys.executable, "-c", "import ensurepip, venv"], check=False, capture_output=True).returncode == 0


PACKAGES: dict[str, tuple[list[str], Callable[[], bool]]] = {
    "tools": (["gcc", "libc6-dev"], has_command("gcc")),
    "nginx": (["nginx"], has_command("nginx")),
    "njs": (["nginx", "libnginx-mod-http-js"], NJS_MODULE.exists),
    "haproxy": (["haproxy"], has_command("haproxy")),
    "node": (["nodejs"], has_command("node")),
    "npm": (["npm"], has_command("npm")),
    "venv": (["python3-venv"], can_make_venv),
}

NEEDS = {
    "nginx": ["nginx"],
    "njs": ["nginx", "njs"],
    "haproxy": ["haproxy"],
    "node": ["node", "npm"],
    "fastapi": ["venv"],
}


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    try:
        subprocess.run([str(word) for word in command], check=True, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failure(f"could not prepare the run: {error}") from error


@contextlib.contextmanager
def services_stay_stopped() -> Iterator[None]:
    """Keeps the packages from starting nginx and HAProxy as services of this machine."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def install_packages(contestants: list[str]) -> None:
    wanted = ["tools", *(need for contestant in contestants for need in NEEDS.get(contestant, []))]
    missing = [package for name in wanted for package in PACKAGES[name][0] if not PACKAGES[name][1]()]
    missing = list(dict.fromkeys(missing))
    if not missing:
        return
    if os.geteuid() != 0:
        raise Failure(f"not root, so these packages have to be installed by hand: {' '.join(missing)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-qq", env=env)
    with services_stay_stopped():
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, env=env)


def is_newer(target: Path, *sources: Path) -> bool:
    return target.exists() and all(target.stat().st_mtime >= source.stat().st_mtime for source in sources)


def build_tool(name: str) -> Path:
    source, target = HERE / "tools" / f"{name}.c", BUILD / name
    if not is_newer(target, source):
        run("gcc", "-O2", "-Wall", "-Wextra", "-o", target, source)
    return target


def install_node_modules() -> None:
    manifest, home = HERE / "peers/node/package.json", BUILD / "peers/node"
    installed = home / "node_modules/.package-lock.json"
    if not is_newer(installed, manifest):
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(manifest, home)
        run("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error", cwd=home)


def install_python_packages() -> None:
    requirements, venv = HERE / "peers/fastapi/requirements.txt", BUILD / "venv"
    installed = venv / "installed"
    if not is_newer(installed, requirements):
        run(sys.executable, "-m", "venv", "--clear", venv)
        run(venv / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements)
        installed.touch()


def build_parlance() -> None:
    if not (ROOT / "target/release/parlance").exists():
        run("cargo", "build", "--release", cwd=ROOT)


def prepare(contestants: list[str]) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    install_packages(contestants)
    build_tool("upstream")
    build_tool("load")
    if "node" in contestants:
        install_node_modules()
    if "fastapi" in contestants:
        install_python_packages()
    if "parlance" in contestants:
        build_parlance()
