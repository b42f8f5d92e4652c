"""Before any load: does a contestant do the job at all?"""

import json
from collections.abc import Iterable
from typing import Any

from .cases import Case, Request
from .contestants import Contestant
from .failure import Failure
from .processes import Answer, Server


def request_of(contestant: Contestant, case: Case) -> Request:
    """A translator is sent the canonical request; what only passes bytes, the vendor's own."""
    return case.canonical if contestant.translates else case.vendor


def headers_of(request: Request) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    return {**headers, "Authorization": request.authorization} if request.authorization else headers


def check_answer(contestant: Contestant, case: Case, answer: Answer) -> None:
    where = f"{contestant.name}, {case.name}"
    if answer.status != 200:
        raise Failure(f"{where}: status {answer.status}: {answer.body[:500]!r}")
    if answer.content_type.partition(";")[0] != "application/json":
        raise Failure(f"{where}: content type {answer.content_type!r}")
    if not contestant.translates:
        if answer.body != case.answer:
            raise Failure(f"{where}: these are not the vendor's bytes")
    elif difference := first_difference(case.expected, json.loads(answer.body, object_pairs_hook=members), ""):
        raise Failure(f"{where}: not the canonical conversation: {difference}")


def check_refusals(contestant: Contestant, case: Case, server: Server) -> None:
    """A translator that does not look at what it is asked would be quicker than it may be."""
    for body in case.refused:
        answer = server.ask("PATCH", case.canonical.path, body, headers_of(case.canonical))
        if answer.status != 422:
            raise Failure(f"{contestant.name}, {case.name}: {body!r} was answered with {answer.status}, not refused with 422")


def members(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise Failure(f"the member {name!r} stands twice in one object")
        found[name] = value
    return found


def first_difference(expected: Any, got: Any, pointer: str) -> str | None:
    """Where two JSON values differ; the order of an object's members does not count, and `true` is not 1."""
    if type(expected) is not type(got):
        return f"{pointer or 'the answer'} should be {shown(expected)}, is {shown(got)}"
    if isinstance(expected, dict):
        for name in [*expected, *got]:
            if name not in got:
                return f"{pointer}/{name} is missing"
            if name not in expected:
                return f"{pointer}/{name} should not be there, is {shown(got[name])}"
            if found := first_difference(expected[name], got[name], f"{pointer}/{name}"):
                return found
        return None
    if isinstance(expected, list):
        if len(expected) != len(got):
            return f"{pointer} should have {len(expected)} items, has {len(got)}"
        pairs = enumerate(zip(expected, got, strict=True))
        return next((found for at, (one, other) in pairs if (found := first_difference(one, other, f"{pointer}/{at}"))), None)
    return None if expected == got else f"{pointer} should be {shown(expected)}, is {shown(got)}"


def shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:200]
