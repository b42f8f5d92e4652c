"""A hand-written gateway: FastAPI in front, an httpx client behind, one uvicorn worker."""

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, StrictBool, StrictStr, ValidationError


class Patch(BaseModel):
    model_config = ConfigDict(extra="forbid")

    def vendor_body(self) -> dict[str, Any]:
        raise NotImplementedError


class AgentPhonePatch(Patch):
    context: dict[str, Any] | None = None
    title: StrictStr | None = None

    def vendor_body(self) -> dict[str, Any]:
        names = {"context": "metadata", "title": "group_name"}
        return {vendor: getattr(self, name) for name, vendor in names.items() if name in self.model_fields_set}


class Contact(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: StrictStr


class ChatlingPatch(Patch):
    archived: StrictBool = False
    important: StrictBool = False
    contact: Contact = Contact(id="")

    def vendor_body(self) -> dict[str, Any]:
        body: dict[str, Any] = {}
        if "archived" in self.model_fields_set:
            body["archive"] = self.archived
        if "important" in self.model_fields_set:
            body["important"] = self.important
        if "contact" in self.model_fields_set:
            body["contact_id"] = self.contact.id
        return body


def utc(text: str) -> str:
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC).isoformat().replace("+00:00", "Z")


def with_rest(target: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    if rest:
        target["vendor_data"] = rest
    return target


def move_time(rest: dict[str, Any], key: str, target: dict[str, Any], name: str) -> None:
    """Moves a time to its canonical member; one that is no time stays with the rest."""
    if key in rest:
        try:
            target[name] = rest[key] and utc(rest[key])
        except (TypeError, ValueError):
            return
        del rest[key]


def move_role(rest: dict[str, Any], key: str, roles: dict[str, str], target: dict[str, Any]) -> None:
    target["role"] = roles.get(rest.get(key, ""), "other")
    if target["role"] != "other":
        del rest[key]


def move(rest: dict[str, Any], names: dict[str, str], target: dict[str, Any]) -> None:
    for key, name in names.items():
        if key in rest:
            target[name] = rest.pop(key)


def agentphone_message(source: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {}
    move(source, {"id": "id", "body": "text"}, message)
    move_role(source, "direction", {"inbound": "user", "outbound": "assistant"}, message)
    move_time(source, "receivedAt", message, "created_at")
    urls = [*(source.pop("mediaUrls", None) or []), source.pop("mediaUrl", None)]
    if attachments := [{"url": url} for url in dict.fromkeys(urls) if url]:
        message["attachments"] = attachments
    return with_rest(message, source)


def agentphone_conversation(answer: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    conversation: dict[str, Any] = {}
    move(answer, {"groupName": "title", "metadata": "context", "messageCount": "message_count"}, conversation)
    if "agentId" in answer:
        agent = answer.pop("agentId")
        conversation["agent"] = agent and {"id": agent}
    if "participant" in answer:
        conversation["contact"] = {"address": answer.pop("participant")}
    move_time(answer, "createdAt", conversation, "created_at")
    move_time(answer, "lastMessageAt", conversation, "last_message_at")
    if "messages" in answer:
        messages = [agentphone_message(message) for message in answer.pop("messages")]
        conversation["messages"] = sorted(messages, key=lambda message: message.get("created_at", ""))
    return conversation, answer


def chatling_message(source: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {}
    move(source, {"id": "id", "text": "text"}, message)
    move_role(source, "role", {"bot": "assistant", "user": "user", "system": "system"}, message)
    move_time(source, "created_at", message, "created_at")
    return with_rest(message, source)


def chatling_conversation(answer: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    if answer["status"] != "success":
        raise ValueError("the vendor reports an error in a 200")
    data = answer["data"]
    conversation: dict[str, Any] = {}
    for flag in ("archived", "important"):
        if flag in data:
            conversation[flag] = bool(data.pop(flag))
    if "contact_id" in data:
        contact = data.pop("contact_id")
        conversation["contact"] = contact and {"id": contact}
    move_time(data, "created_at", conversation, "created_at")
    if "messages" in data:
        conversation["messages"] = [chatling_message(message) for message in reversed(data.pop("messages"))]
    return conversation, data


@dataclass(frozen=True)
class Upstream:
    vendor: str
    patch: type[Patch]
    path: str
    headers: dict[str, str]
    conversation: Callable[[dict[str, Any]], tuple[dict[str, Any], dict[str, Any]]]


def headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "Accept-Encoding": "identity"}


UPSTREAMS = {
    "sms": Upstream("agentphone", AgentPhonePatch, "/v1/conversations/", headers(os.environ["SMS_KEY"]), agentphone_conversation),
    "support": Upstream(
        "chatling",
        ChatlingPatch,
        f"/v2/chatbots/{os.environ['CHATBOT_ID']}/conversations/",
        headers(os.environ["SUPPORT_KEY"]),
        chatling_conversation,
    ),
}


def compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def problem(status: int, code: str, errors: list[dict[str, str]] | None = None) -> Response:
    body: dict[str, Any] = {"type": f"urn:parlance:problem:{code}", "status": status}
    if errors:
        body["errors"] = errors
    return Response(compact(body), status, media_type="application/problem+json")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    limits = httpx.Limits(max_connections=128, max_keepalive_connections=128)
    async with httpx.AsyncClient(base_url=os.environ["VENDOR_ORIGIN"], timeout=10, limits=limits) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.patch("/conversations/{conversation_id}")
async def patch_conversation(conversation_id: str, request: Request) -> Response:
    name, colon, vendor_id = conversation_id.partition(":")
    upstream = UPSTREAMS.get(name)
    if not colon or upstream is None:
        return problem(404, "no-route")
    if vendor_id in ("", ".", "..") or len(vendor_id) > 512:
        return problem(400, "invalid-id")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if media_type not in ("application/json", "application/merge-patch+json"):
        return problem(415, "unsupported-media-type")
    try:
        patch = upstream.patch.model_validate_json(await request.body())
    except ValidationError as error:
        faults = [{"pointer": "/" + "/".join(map(str, fault["loc"])), "code": fault["type"]} for fault in error.errors()]
        return problem(422, "invalid-patch", faults)
    if not patch.model_fields_set:
        return problem(422, "invalid-patch", [{"pointer": "", "code": "empty-patch"}])

    client: httpx.AsyncClient = request.app.state.client
    try:
        answer = await client.patch(upstream.path + quote(vendor_id, safe=""), content=compact(patch.vendor_body()), headers=upstream.headers)
    except httpx.HTTPError:
        return problem(502, "vendor-unreachable")
    if answer.status_code != 200:
        return problem(404, "conversation-not-found") if answer.status_code == 404 else problem(502, "vendor-error")
    try:
        conversation, rest = upstream.conversation(json.loads(answer.content))
    except (AttributeError, KeyError, TypeError, ValueError):
        return problem(502, "vendor-invalid-response")
    if rest.get("id") == vendor_id:
        del rest["id"]
    canonical = {"id": conversation_id, "vendor": upstream.vendor, "upstream": name, **conversation}
    return Response(compact(with_rest(canonical, rest)), media_type="application/json")
