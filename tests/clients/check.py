"""Uses the generated Python client, and nothing else, against a gateway: check.py URL ID..."""

import sys

from parlance_client import Client
from parlance_client.api.default import head_conversation, read_conversation, update_conversation
from parlance_client.models import (
    Confirmation,
    Context,
    ContextMergePatch,
    Conversation,
    ConversationMergePatch,
    ConversationUpdate,
    DryRun,
    Problem,
    VendorFields,
)

URL, IDS = sys.argv[1], sys.argv[2:]
client = Client(base_url=URL, raise_on_unexpected_status=True)
checks = 0


def equal(actual, expected):
    global checks
    checks += 1
    assert actual == expected, f"{actual!r} instead of {expected!r}"


def kind(answer, expected):
    """The answer's body, which must be of this class."""
    global checks
    checks += 1
    assert type(answer.parsed) is expected, f"{answer.status_code} {answer.content!r} is no {expected.__name__}"
    return answer.parsed


def update(id, body, **options):
    return update_conversation.sync_detailed(id, client=client, body=body, **options)


def replacement(**members):
    return ConversationUpdate(context=Context.from_dict(members))


def merge(**members):
    return ConversationMergePatch(context=ContextMergePatch.from_dict(members))


def stored(id):
    return kind(read_conversation.sync_detailed(id, client=client), Conversation).context


def check(id):
    # An update replaces.
    kind(update(id, replacement(first="1", second="2")), Conversation)
    updated = update(id, replacement(third="3", fourth="4"))
    equal(kind(updated, Conversation).context, {"third": "3", "fourth": "4"})
    equal(stored(id), {"third": "3", "fourth": "4"})

    # A merge patch merges; null removes.
    merged = update(id, merge(third=None, fifth="5"))
    equal(kind(merged, Conversation).context, {"fourth": "4", "fifth": "5"})
    equal(stored(id), {"fourth": "4", "fifth": "5"})

    # A dry run is told apart, and changes nothing.
    shown = kind(update(id, replacement(sixth="6"), dry_run=True), DryRun)
    equal((shown.dry_run, shown.id, shown.vendor), (True, id, id.split(":")[0]))
    equal("***" in shown.request.headers.to_dict().values(), True)
    equal("sixth" in str(shown.request.body), True)
    equal(stored(id), {"fourth": "4", "fifth": "5"})

    # A read has a tag, by which it is not sent again.
    read = read_conversation.sync_detailed(id, client=client)
    tag = read.headers["etag"]
    equal(kind(read, Conversation).id, id)
    again = read_conversation.sync_detailed(id, client=client, if_none_match=tag)
    equal((again.status_code, again.parsed, again.content), (304, None, b""))
    equal(head_conversation.sync_detailed(id, client=client).headers["etag"], tag)

    # The tag is a condition of an update, until there is another one.
    changed = update(id, replacement(seventh="7"), if_match=tag)
    equal(kind(changed, Conversation).context, {"seventh": "7"})
    stale = update(id, replacement(eighth="8"), if_match=tag)
    problem = kind(stale, Problem)
    equal((stale.status_code, problem.type_), (412, "urn:parlance:problem:precondition-failed"))
    equal((problem.retryable, problem.update_applied), (False, "no"))
    equal(stale.headers["etag"], read_conversation.sync_detailed(id, client=client).headers["etag"])
    equal(stored(id), {"seventh": "7"})

    # A repeated key gives the stored answer.
    key = f"key-of-{id}"
    first = update(id, replacement(ninth="9"), idempotency_key=key)
    replay = update(id, replacement(ninth="9"), idempotency_key=key)
    equal((first.headers.get("idempotent-replayed"), replay.headers.get("idempotent-replayed")), (None, "true"))
    equal(kind(replay, Conversation).to_dict(), kind(first, Conversation).to_dict())

    # A refused update names every fault.
    refused = update(id, ConversationUpdate(title="t" * 501, vendor_fields=VendorFields.from_dict({"x": 1})))
    problem = kind(refused, Problem)
    equal((refused.status_code, problem.type_), (422, "urn:parlance:problem:invalid-patch"))
    faults = {fault.pointer: fault.code for fault in problem.errors}
    equal(faults["/vendor_fields"], "vendor-field-refused")
    equal((problem.request_id, problem.upstream), (refused.headers["x-request-id"], id.split(":")[0]))
    equal(stored(id), {"ninth": "9"})

    # Without a wish for a body there is none, unless there are warnings.
    equal(update(id, replacement(eleventh="11"), prefer="return=minimal").status_code, 204)
    flags = ConversationUpdate(context=Context.from_dict({"a": "b"}), archived=True, important=True)
    confirmed = kind(update(id, flags, prefer="handling=lenient, return=minimal"), Confirmation)
    equal({warning.pointer for warning in confirmed.warnings} <= {"/archived", "/important"}, True)


for each in IDS:
    check(each)
# A later release may add members and values.
newer = Conversation.from_dict({"id": "x:1", "vendor": "sixth", "upstream": "x", "status": "snoozed", "mood": {"now": 1}})
equal((newer.vendor, newer.status, newer.additional_properties), ("sixth", "snoozed", {"mood": {"now": 1}}))
print(f"python client: {checks} checks with {len(IDS)} vendors")
