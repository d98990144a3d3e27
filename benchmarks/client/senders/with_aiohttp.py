"""aiohttp, one session, IN_FLIGHT tasks: PORT BODY_FILE IN_FLIGHT FOR_S."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import aiohttp


async def load(url: str, body: bytes, in_flight: int, for_s: float) -> int:
    """Send for ``for_s`` seconds and return how many requests were answered."""
    until_s = asyncio.get_running_loop().time() + for_s

    async def one_after_another() -> int:
        answered = 0
        while asyncio.get_running_loop().time() < until_s:
            async with session.post(url, data=body) as reply:
                await reply.read()
                answered += reply.status == 200
        return answered

    connector = aiohttp.TCPConnector(limit=in_flight)
    async with aiohttp.ClientSession(connector=connector) as session:
        return sum(await asyncio.gather(*(one_after_another() for _ in range(in_flight))))


def main(port: str, body_file: str, in_flight: str, for_s: str) -> None:
    """Send and print how many requests were sent and answered."""
    body = Path(body_file).read_bytes()
    answered = asyncio.run(load(f"http://127.0.0.1:{port}/", body, int(in_flight), float(for_s)))
    sys.stdout.write(json.dumps({"sent": answered, "answered": answered}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
