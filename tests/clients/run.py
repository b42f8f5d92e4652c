#!/usr/bin/env python3
"""Starts the sandbox and a gateway on free ports of loopback, and checks the served OpenAPI document from outside.

    run.py python        generates a Python client and runs check.py with it
    run.py typescript    generates TypeScript types, compiles check.ts with them and runs it
    run.py fuzz          lets schemathesis judge the gateway by the document

Needs a built target/debug/parlance and, in its own Python environment, tests/requirements.txt. Works in target/clients.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
PARLANCE = TARGET / "debug" / "parlance"
WORK = TARGET / "clients"
# Vendors accept any key of 40 letters that the sandbox has been told.
KEY = "k" * 40


def fetch(url, method="GET", body=None):
    request = urllib.request.Request(url, method=method, data=body and json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


@contextlib.contextmanager
def running(*arguments):
    """The program, until the block ends; gives the lines of its output."""
    with subprocess.Popen([PARLANCE, *arguments], env={}, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout
        finally:
            process.terminate()
            # What it still writes must not block it.
            process.communicate(timeout=20)


@contextlib.contextmanager
def gateway(vendors):
    """A gateway over a sandbox, with one upstream for each vendor, named after it; gives its URL."""
    with running("sandbox", "--port", "0") as lines:
        control = lines.readline().split("control endpoint ")[1].split(")")[0]
        urls = dict(lines.readline().split() for _ in vendors)
        config = ['[server]', 'listen = "127.0.0.1:0"', 'drain_delay = "0s"', '[admin]', 'listen = "127.0.0.1:0"']
        for vendor in vendors:
            name = vendor["vendor"]
            fetch(f"{control}/credentials/{name}", "PUT", {"accept": [KEY]})
            config += [f"[upstreams.{name}]", f'vendor = "{name}"', f'base_url = "{urls[name]}"']
            config += [f'credential = {{ value = "{KEY}" }}']
            config += [f'{key} = "{value}"' for key, value in vendor["example"]["settings"].items()]
        text = "\n".join(config) + "\n"
        tomllib.loads(text)
        (WORK / "parlance.toml").write_text(text)
        with running("serve", "--config", str(WORK / "parlance.toml")) as log:
            for line in log:
                event = json.loads(line)
                if event.get("listener") == "api":
                    # The log goes on; a full pipe would stop the gateway.
                    sink = subprocess.Popen(["cat"], stdin=log, stdout=subprocess.DEVNULL)
                    try:
                        yield f"http://{event['address']}"
                    finally:
                        sink.terminate()
                        sink.wait()
                    return
    raise SystemExit("the gateway does not listen")


def do(*command, **options):
    print("+", *command, flush=True)
    subprocess.run([str(word) for word in command], check=True, **options)


def comparable(vendors):
    """Ids of conversations whose context can be read back: with the others, a merge and a condition mean nothing."""
    return [id for id, vendor in vendors.items() if vendor["merge_patch"] and vendor["if_match"]]


def python(url, document, vendors):
    generator = Path(sys.executable).parent / "openapi-python-client"
    package = WORK / "python" / "parlance_client"
    shutil.rmtree(package.parent, ignore_errors=True)
    package.parent.mkdir(parents=True)
    # Nothing to run afterwards: the code is not for people.
    (WORK / "generator.json").write_text('{"post_hooks": []}')
    do(generator, "generate", "--path", document, "--meta", "none", "--output-path", package,
       "--config", WORK / "generator.json", "--fail-on-warning")
    do(sys.executable, HERE / "check.py", url, *comparable(vendors), env={**os.environ, "PYTHONPATH": str(package.parent)})


def typescript(url, document, vendors):
    project = WORK / "typescript"
    project.mkdir(parents=True, exist_ok=True)
    names = ["package.json", "package-lock.json", "tsconfig.json", "check.ts"]
    wanted = (HERE / "package-lock.json").read_text()
    marker = project / "installed.json"
    installed = marker.exists() and marker.read_text() == wanted
    for name in names:
        shutil.copy(HERE / name, project / name)
    if not installed:
        do("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=project)
        marker.write_text(wanted)
    tools = project / "node_modules" / ".bin"
    do(tools / "openapi-typescript", document, "--output", project / "parlance.d.ts", cwd=project)
    do(tools / "tsc", "--project", project, cwd=project)
    do("node", project / "built" / "check.js", url, *comparable(vendors), cwd=project)


def fuzz(url, document, vendors):
    schemathesis = Path(sys.executable).parent / "schemathesis"
    known = {id: [name for name, taken in vendor["members"].items() if taken] for id, vendor in vendors.items()}
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "hooks",
        "PYTHONPATH": str(HERE),
        "PARLANCE_CONVERSATIONS": json.dumps(known),
    }
    # Without the failures of earlier runs, each run is the same.
    shutil.rmtree(WORK / ".hypothesis", ignore_errors=True)
    do(schemathesis, "--config-file", HERE / "schemathesis.toml", "run", document, "--url", url,
       cwd=WORK, env=environment)


def main():
    what = {"python": python, "typescript": typescript, "fuzz": fuzz}[sys.argv[1]]
    WORK.mkdir(parents=True, exist_ok=True)
    printed = subprocess.run([PARLANCE, "vendors", "--json"], check=True, capture_output=True).stdout
    vendors = json.loads(printed)["vendors"]
    with gateway(vendors) as url:
        document = WORK / "openapi.json"
        document.write_bytes(fetch(f"{url}/openapi.json"))
        what(url, document, {f"{vendor['vendor']}:{vendor['example']['id']}": vendor for vendor in vendors})


if __name__ == "__main__":
    main()
