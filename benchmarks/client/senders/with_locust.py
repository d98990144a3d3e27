"""Locust's FastHttpUser without a pause between tasks; the body's file is named in BODY_FILE."""

from __future__ import annotations

import os
from pathlib import Path

from locust import FastHttpUser, task  # type: ignore[import-not-found]  # a peer, not a dependency

BODY = Path(os.environ["BODY_FILE"]).read_bytes()


class Sender(FastHttpUser):  # type: ignore[misc]
    """One request in flight."""

    @task  # type: ignore[untyped-decorator]
    def post(self) -> None:
        """Send one request and await its reply."""
        self.client.post("/", data=BODY)
