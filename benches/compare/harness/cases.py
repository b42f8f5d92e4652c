"""The three jobs: what a caller sends, what the vendor must be sent, what it answers, and the Conversation that must come back.

Their text is ASCII but for one Latin-1 letter: the kindest choice for the peers, whose engines turn to wider strings, and about half the speed, where
an answer has a single character beyond Latin-1.

The expected Conversation is derived here from the vendor's answer by the rules of the canonical API, independently of every contestant.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

CHATBOT_ID = "9761342719"
SMS_KEY = "ap_test_5f0c2d1e9b7a4c3d8e6f"
SUPPORT_KEY = "ch_test_1a2b3c4d5e6f7a8b9c0d"

Json = dict[str, Any]


def compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Request:
    """One request as a caller sends it."""

    path: str
    body: bytes
    authorization: str | None = None

    def raw(self, port: int) -> bytes:
        head = [
            f"PATCH {self.path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Accept: application/json",
            "Content-Type: application/json",
            f"Content-Length: {len(self.body)}",
        ]
        if self.authorization:
            head.append(f"Authorization: {self.authorization}")
        return "\r\n".join(head).encode() + b"\r\n\r\n" + self.body


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    canonical: Request
    vendor: Request
    answer: bytes
    expected: Json
    refused: tuple[bytes, ...]
    """Canonical bodies that a translator must refuse with 422 before it asks the vendor."""

    @property
    def kib(self) -> float:
        return len(self.answer) / 1024


def with_rest(target: Json, rest: Json) -> Json:
    return {**target, "vendor_data": rest} if rest else target


def without(source: Json, *names: str) -> Json:
    return {name: value for name, value in source.items() if name not in names}


def in_utc(time: str) -> str:
    return time.removesuffix("+00:00").removesuffix("Z") + "Z"


def agentphone_expected(answer: Json, upstream: str) -> Json:
    messages = []
    for source in sorted(answer["messages"], key=lambda message: message["receivedAt"]):
        message = {
            "id": source["id"],
            "role": {"inbound": "user", "outbound": "assistant"}[source["direction"]],
            "text": source["body"],
            "created_at": in_utc(source["receivedAt"]),
        }
        if "mediaUrls" in source:
            message["attachments"] = [{"url": url} for url in source["mediaUrls"]]
        messages.append(with_rest(message, without(source, "id", "direction", "body", "receivedAt", "mediaUrls")))
    conversation = {
        "id": f"{upstream}:{answer['id']}",
        "vendor": "agentphone",
        "upstream": upstream,
        "title": answer["groupName"],
        "context": answer["metadata"],
        "agent": {"id": answer["agentId"]},
        "contact": {"address": answer["participant"]},
        "created_at": in_utc(answer["createdAt"]),
        "last_message_at": in_utc(answer["lastMessageAt"]),
        "message_count": answer["messageCount"],
        "messages": messages,
    }
    translated = ("id", "groupName", "metadata", "agentId", "participant", "createdAt", "lastMessageAt", "messageCount", "messages")
    return with_rest(conversation, without(answer, *translated))


def chatling_expected(answer: Json, upstream: str) -> Json:
    data = answer["data"]
    messages = []
    for source in reversed(data["messages"]):
        message = {
            "role": {"bot": "assistant", "user": "user"}[source["role"]],
            "text": source["text"],
            "created_at": in_utc(source["created_at"]),
        }
        messages.append(with_rest(message, without(source, "role", "text", "created_at")))
    conversation = {
        "id": f"{upstream}:{data['id']}",
        "vendor": "chatling",
        "upstream": upstream,
        "archived": data["archived"] == 1,
        "important": data["important"] == 1,
        "contact": {"id": data["contact_id"]},
        "created_at": in_utc(data["created_at"]),
        "messages": messages,
    }
    return with_rest(conversation, without(data, "id", "archived", "important", "contact_id", "created_at", "messages"))


def agentphone_answer(context: Json) -> Json:
    ours, theirs = "+15551234567", "+15559876543"
    first = "Hi, where is my order? It should have been here at noon, and the tracking page shows the same stop since this morning. I leave at three."
    second = "This is the slip. Is it the right café?"
    third = 'Your order is on the van. The driver says: "about 20 minutes".\nReply STOP to end these messages.'

    def message(number: int, direction: str, text: str, **more: object) -> Json:
        sender, receiver = (ours, theirs) if direction == "outbound" else (theirs, ours)
        return {
            "id": f"msg_{number:03}",
            "body": text,
            "fromNumber": sender,
            "toNumber": receiver,
            "direction": direction,
            "receivedAt": f"2026-01-15T14:{number * 5:02}:00Z",
            "channel": "mms" if more else "sms",
            **more,
        }

    return {
        "id": "conv_abc123",
        "agentId": "agt_7f3k2m9q",
        "phoneNumberId": "num_xyz789",
        "phoneNumber": ours,
        "participant": theirs,
        "lastMessageAt": "2026-01-15T14:15:00Z",
        "messageCount": 3,
        "createdAt": "2026-01-15T14:05:00Z",
        "metadata": context,
        "isGroup": False,
        "groupId": None,
        "groupName": None,
        "messages": [
            message(3, "outbound", third),
            message(2, "inbound", second, mediaUrls=["https://media.agentphone.ai/m/slip-2.jpg"]),
            message(1, "inbound", first),
        ],
    }


def chatling_answer(conversation: str, count: int, paragraphs: int) -> Json:
    start = datetime(2024, 6, 17, 16, 0, tzinfo=UTC)

    def message(number: int) -> Json:
        time = (start + timedelta(seconds=37 * number)).isoformat()
        if number % 2 == 0:
            text = (
                f"Question {number}: can I change the delivery address of order A-{1000 + number} after it was packed?\n"
                "It should go to the bakery next door and not to my flat, where nobody is in before six."
            )
            return {"text": text, "role": "user", "created_at": time}
        text = (
            f"Yes. Until the parcel of order A-{999 + number} is handed to the carrier you can change its address under Orders; "
            'afterwards choose "Redirect" on the carrier\'s page, which takes effect at the next depot.\n\n'
            "Shall I do that for you? I need the postcode and the name on the door; a redirect costs nothing within the same city."
        ) + paragraphs * (
            "\n\nA redirected parcel arrives one working day later as a rule. The carrier sends a text message to the number on the order with "
            "the new time, and the driver rings twice; if nobody opens, the parcel waits for seven days at the shop that the card names."
        )
        source = {
            "type": "webpage",
            "title": f"Changing a delivery, part {number}",
            "url": f"https://help.example.com/en/orders/changing-a-delivery-address-after-the-order-was-packed?part={number}",
        }
        knowledge = {"helpful_value": None, "sources": [source, {**source, "title": "Redirects"}]}
        return {"text": text, "role": "bot", "is_ai_kb_response": True, "data": knowledge, "created_at": time}

    return {
        "status": "success",
        "data": {
            "id": conversation,
            "contact_id": "qtr89df0-112d-d197-b541-3f8674663246",
            "archived": 1,
            "important": 1,
            "created_at": start.isoformat(),
            "messages": [message(number) for number in reversed(range(count))],
        },
    }


def agentphone_case() -> Case:
    context = {"order_id": "A-1001", "topic": "delivery"}
    answer = agentphone_answer(context)
    return Case(
        name="small",
        title="AgentPhone, 3 messages",
        canonical=Request("/conversations/sms:conv_abc123", compact({"context": context})),
        vendor=Request("/v1/conversations/conv_abc123", compact({"metadata": context}), f"Bearer {SMS_KEY}"),
        answer=compact(answer),
        expected=agentphone_expected(answer, "sms"),
        refused=(b'{"colour":"red"}', b'{"archived":true}', b'{"context":{},"id":"sms:other"}', b'{"context":[1]}', b"{}"),
    )


def chatling_case(name: str, conversation: str, count: int, paragraphs: int) -> Case:
    answer = chatling_answer(conversation, count, paragraphs)
    return Case(
        name=name,
        title=f"Chatling, {count} messages",
        canonical=Request(f"/conversations/support:{conversation}", compact({"archived": True, "important": True})),
        vendor=Request(
            f"/v2/chatbots/{CHATBOT_ID}/conversations/{conversation}", compact({"archive": True, "important": True}), f"Bearer {SUPPORT_KEY}"
        ),
        answer=compact(answer),
        expected=chatling_expected(answer, "support"),
        refused=(b'{"colour":"red"}', b'{"title":"x"}', b'{"archived":"yes"}', b'{"important":null}', b"{}"),
    )


CASES = {case.name: case for case in (agentphone_case(), chatling_case("medium", "8977617953", 5, 0), chatling_case("large", "8977617954", 200, 2))}
