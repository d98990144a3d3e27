"""Requests whose tensors lie in memory that client and server share, and what the server is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from pytest_servebench.plan import WireRequest


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SharedRequests:
    """Requests whose tensors lie in one region of shared memory, and what their server is told of it."""

    region: str
    """The region's name: the server's, and of system memory the system's (``/dev/shm/NAME``)."""
    tensors: tuple[npt.NDArray[Any], ...]
    """What lies in it, one after another from its begin."""
    requests: tuple[WireRequest, ...]
    """One for each group of images, in order."""
    register: WireRequest | Callable[[bytes], WireRequest]
    """After it the server reads from the region. Of a GPU's memory it is made of the region's handle, which
    is there once the region is: see `registering`."""
    unregister: WireRequest
    """After it the server has let go of the region."""
    gpu: int | None = None
    """The GPU whose memory it is, as this machine counts; None: it is the system's."""

    def registering(self, raw_handle: bytes = b"") -> WireRequest:
        """Return what tells the server of the region; of a GPU's memory it needs its handle, in base64."""
        return self.register if isinstance(self.register, WireRequest) else self.register(raw_handle)

    @property
    def size_bytes(self) -> int:
        """Return how long the region is."""
        return sum(tensor.nbytes for tensor in self.tensors)
