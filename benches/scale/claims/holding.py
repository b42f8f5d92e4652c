"""A vendor that holds every answer until it is told to send them all.

    holding.py PORT ANSWER_FILE

`GET /-/counters` tells how many requests it holds and how many answers it has sent; `POST /-/release` sends what is held.
"""

import asyncio
import json
import sys
from pathlib import Path


class Vendor:
    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.released = asyncio.Event()
        self.held = 0
        self.sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
                await reader.readexactly(int(fields.get("content-length", "0")))
                body = self.control(head) if b" /-/" in head else await self.hold()
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode())
                writer.write(body)
                await writer.drain()
                self.sent += body is self.answer
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def control(self, head: bytes) -> bytes:
        if head.startswith(b"POST /-/release "):
            self.released.set()
        return json.dumps({"held": self.held, "sent": self.sent}).encode()

    async def hold(self) -> bytes:
        self.held += 1
        await self.released.wait()
        return self.answer


async def main(port: str, answer: str) -> None:
    vendor = Vendor(Path(answer).read_bytes())
    server = await asyncio.start_server(vendor.serve, "127.0.0.1", int(port), backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
