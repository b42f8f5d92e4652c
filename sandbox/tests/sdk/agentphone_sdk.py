"""The vendor's own Python SDK against the sandbox: agentphone_sdk.py BASE_URL KEY CONVERSATION_ID

Exits 0 only if reading, updating and the three kinds of refusal look to the SDK as the real service would.
Needs `pip install agentphone==0.20.3`.
"""

import sys

from agentphone import AgentPhone, AgentPhoneError, AuthenticationError, NotFoundError


def refused(kind, status, call):
    try:
        call()
    except kind as error:
        assert error.status == status, f"{error.status} instead of {status}: {error.message}"
        return error.message
    raise AssertionError(f"nothing was raised instead of a {status}")


def main(base_url, key, conversation_id):
    with AgentPhone(api_key=key, base_url=base_url) as client:
        before = client.conversations.get(conversation_id)
        assert before.id == conversation_id
        assert before.phone_number and before.participant and before.created_at
        assert before.message_count >= len(before.messages) > 0
        assert all(m.id and m.direction in ("inbound", "outbound") for m in before.messages)
        assert len(client.conversations.get(conversation_id, message_limit=1).messages) == 1

        listed = client.conversations.list(limit=100)
        assert conversation_id in [c.id for c in listed.data] and listed.total >= 1 and not listed.has_more
        page = client.conversations.get_messages(conversation_id, limit=1)
        assert len(page.data) == 1 and page.has_more

        metadata = {"customer": "Ann", "nested": {"tags": ["a", "b"], "n": 3}, "none": None}
        updated = client.conversations.update(conversation_id, metadata=metadata)
        assert updated.metadata == metadata, updated.metadata
        assert client.conversations.get(conversation_id).metadata == metadata
        # The SDK leaves None out, so this sends {} and nothing changes.
        assert client.conversations.update(conversation_id, metadata=None).metadata == metadata

        message = refused(AgentPhoneError, 422, lambda: client.conversations.update(conversation_id, metadata=[1]))
        assert message[0]["loc"] == ["body", "metadata"], message
        refused(NotFoundError, 404, lambda: client.conversations.get("conv_nobody"))
        refused(NotFoundError, 404, lambda: client.conversations.update("conv_nobody", metadata={}))
        refused(AgentPhoneError, 422, lambda: client.conversations.get(conversation_id, message_limit=101))

    with AgentPhone(api_key=key + "x", base_url=base_url) as stranger:
        message = refused(AuthenticationError, 401, lambda: stranger.conversations.get(conversation_id))
        assert message == "Invalid API key", message
        refused(AuthenticationError, 401, lambda: stranger.conversations.update(conversation_id, metadata={}))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
    print("ok")
