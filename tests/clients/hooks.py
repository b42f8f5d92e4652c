"""Hooks for schemathesis: most of its requests are about conversations that exist, and many write members that their
vendor takes. Fails at the end unless enough of them came through."""

import atexit
import collections
import json
import os
import re
import zlib

import schemathesis
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode

# Ids, each with the members that its vendor takes.
CONVERSATIONS = json.loads(os.environ["PARLANCE_CONVERSATIONS"])
TAG = re.compile(r'[*]|(W/)?"[!#-~]*"([ \t]*,[ \t]*(W/)?"[!#-~]*")*')
statuses = collections.Counter()


@schemathesis.hook
def map_case(context, case):
    made_up = (case.path_parameters or {}).get("id")
    if not isinstance(made_up, str) or case.meta.is_negative_at(ParameterLocation.PATH):
        return case
    # The same for the same request, so that a failure can be repeated.
    choice = zlib.crc32(f"{made_up}{case.body!r}".encode("utf-8", "surrogatepass"))
    valid = case.meta.generation.mode == GenerationMode.POSITIVE
    # Headers in the coverage phase have the documented length but not the documented pattern.
    for name in ("If-Match", "If-None-Match"):
        if valid and name in (case.headers or {}) and not TAG.fullmatch(case.headers[name]):
            case.headers[name] = "*" if choice % 8 else '"0"'
    if choice % 4:
        id = sorted(CONVERSATIONS)[choice // 4 % len(CONVERSATIONS)]
        case.path_parameters["id"] = id
        if isinstance(case.body, dict) and choice % 4 > 1 and valid:
            taken = {name: value for name, value in case.body.items() if name in CONVERSATIONS[id]}
            case.body = taken or case.body
    return case


@schemathesis.hook
def after_call(context, case, response):
    statuses[f"{case.method} {case.path} {response.status_code}"] += 1


@atexit.register
def tell():
    for name, count in sorted(statuses.items()):
        print(f"{count:6} {name}")
    done = [statuses[f"{name} /conversations/{{id}} 200"] for name in ("GET", "HEAD", "PATCH")]
    print(f"{statuses.total()} requests, answered 200 by a vendor's conversation: {sum(done)}")
    if min(done) < 20:
        print(f"too few requests came through: {done}")
        os._exit(1)
