"""Being told to end: by SIGTERM and a closed terminal as by Ctrl-C, so that nothing is left half up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class ToldToEnd(KeyboardInterrupt):
    """A signal that this process alone got: what it has started does not know of it."""


@contextmanager
def told_to_end() -> Iterator[None]:
    """Raise `ToldToEnd` inside when told to end, once.

    Whoever ignores a closed terminal (nohup) goes on doing so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hears_hang_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    ends = (signal.SIGTERM, signal.SIGHUP) if hears_hang_up else (signal.SIGTERM,)

    def end(_signal: int, _frame: FrameType | None) -> None:
        # A second one must not cut the clearing away short.
        for each in ends:
            signal.signal(each, signal.SIG_IGN)
        raise ToldToEnd

    before = {each: signal.signal(each, end) for each in ends}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
