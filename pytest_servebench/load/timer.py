"""A timer that epoll can wait for: the kernel's timerfd, where epoll itself knows whole milliseconds only.

See timerfd_create(2). Python has it from 3.13; before, the C library is asked directly.
"""

from __future__ import annotations

import ctypes
import os
import sys

_CLOCK_MONOTONIC = 1
_NONBLOCKING_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_ABSOLUTE = 1
_NS_PER_S = 1_000_000_000


class Timer:
    """Readable once the instant for which it was last armed has come; holds one descriptor.

    Register it edge-triggered: then nobody has to read it. Raises OSError without a descriptor.
    """

    def __init__(self) -> None:
        self._descriptor = _create()

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._descriptor

    def arm(self, at_ns: int) -> None:
        """Wake at this instant of CLOCK_MONOTONIC, at once if it has passed; forget any other."""
        _set(self._descriptor, max(1, at_ns))

    def close(self) -> None:
        """Give the descriptor back; may be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


if sys.version_info >= (3, 13):

    def _create() -> int:
        return os.timerfd_create(_CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

    def _set(descriptor: int, at_ns: int) -> None:
        os.timerfd_settime_ns(descriptor, flags=os.TFD_TIMER_ABSTIME, initial=at_ns)

else:
    _C = ctypes.CDLL(None, use_errno=True)

    class _Setting(ctypes.Structure):
        """``struct itimerspec``: seconds and nanoseconds of the interval, then of the first time."""

        _fields_ = tuple((name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns"))

    def _create() -> int:
        return _checked(_C.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCKING_CLOEXEC))

    def _set(descriptor: int, at_ns: int) -> None:
        setting = _Setting(0, 0, at_ns // _NS_PER_S, at_ns % _NS_PER_S)
        _checked(_C.timerfd_settime(descriptor, _ABSOLUTE, ctypes.byref(setting), None))

    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
