"""A clock whose sleeps take no time."""

from __future__ import annotations


class JumpingClock:
    """Time passes only by sleeping, or by ``per_look_s`` each time it is read."""

    def __init__(self, per_look_s: float = 0.0) -> None:
        self.elapsed_s = 0.0
        self.sleeps_s: list[float] = []
        self._per_look_s = per_look_s

    def now_ns(self) -> int:
        self.elapsed_s += self._per_look_s
        return round(self.elapsed_s * 1e9)

    def sleep_s(self, seconds: float) -> None:
        self.sleeps_s.append(seconds)
        self.elapsed_s += seconds
