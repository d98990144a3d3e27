"""A clock that stands still until told otherwise."""

from __future__ import annotations


class FakeClock:
    """Satisfies `interfaces.Clock`; sleeping is free and exact, and remembered in ``slept_s``."""

    def __init__(self, now_ns: int = 1_000_000_000) -> None:
        self._now_ns = now_ns
        self.slept_s: list[float] = []

    def now_ns(self) -> int:
        """Return the time it was set to."""
        return self._now_ns

    def sleep_s(self, seconds: float) -> None:
        """Advance by ``seconds`` at once; raises ValueError when they are negative, as `time.sleep` does."""
        self.slept_s.append(seconds)
        self.advance_s(seconds)

    def advance_s(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        if seconds < 0:
            raise ValueError(f"time does not go backwards: {seconds} s")
        self._now_ns += round(seconds * 1e9)
