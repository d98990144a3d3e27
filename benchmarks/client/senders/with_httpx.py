"""httpx, one asynchronous client, IN_FLIGHT tasks: PORT BODY_FILE IN_FLIGHT FOR_S."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import httpx


async def load(url: str, body: bytes, in_flight: int, for_s: float) -> int:
    """Send for ``for_s`` seconds and return how many requests were answered."""
    until_s = asyncio.get_running_loop().time() + for_s

    async def one_after_another() -> int:
        answered = 0
        while asyncio.get_running_loop().time() < until_s:
            reply = await client.post(url, content=body)
            answered += reply.status_code == 200
        return answered

    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with httpx.AsyncClient(limits=limits, trust_env=False, timeout=30.0) as client:
        return sum(await asyncio.gather(*(one_after_another() for _ in range(in_flight))))


def main(port: str, body_file: str, in_flight: str, for_s: str) -> None:
    """Send and print how many requests were sent and answered."""
    body = Path(body_file).read_bytes()
    answered = asyncio.run(load(f"http://127.0.0.1:{port}/", body, int(in_flight), float(for_s)))
    sys.stdout.write(json.dumps({"sent": answered, "answered": answered}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
