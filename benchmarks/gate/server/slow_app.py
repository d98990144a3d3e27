"""The FastAPI server of ``handlers/``, made slower: it sleeps a share of what each inference took it.

Runs inside the server, and imports nothing of pytest_servebench. ``GATE_SLEEPS`` is the share: 0.1 adds
ten per cent. The time that counts runs from the request's head to the begin of its reply: all that the
server does for it but parsing the head and writing the body.
"""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any

from fastapi_app.app import create_app as create_fast_app

SLEEPS = "GATE_SLEEPS"
_PR_SET_TIMERSLACK = 29
_SLACK_NS = 1_000
"""The kernel may wake a sleeper this much late; 50,000 where nobody asks, which would be 4% of a sleep."""


class Slowed:
    """An ASGI application whose replies to POST begin late by a share of the time they took."""

    def __init__(self, app: Any, share: float) -> None:
        self._app = app
        self._share = share

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, late where it is an inference."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()

        async def send_late(message: Any) -> None:
            if message["type"] == "http.response.start" and self._share > 0:
                # Nobody else waits, for one request at a time is in flight; the loop's own timers are
                # 1 ms coarse, a tenth of what is measured.
                time.sleep(self._share * (time.perf_counter() - began_s))  # noqa: ASYNC251 (as above)
            await send(message)

        await self._app(scope, receive, send_late)


def create_app() -> Slowed:
    """Return the application for uvicorn, which calls this in the event loop's thread."""
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, _SLACK_NS, 0, 0, 0)
    return Slowed(create_fast_app(), float(os.environ[SLEEPS]))
