"""Pins host memory, so that the GPU reads it without a copy of the driver's own.

A guest. `ctypes` instead of a package: onnxruntime brings the CUDA runtime and offers no call for it, torch
none that forgets the error of a refusal.
"""

from __future__ import annotations

import ctypes
import logging
from typing import Any

_PORTABLE = 1
"""cudaHostRegisterPortable: pinned for every CUDA context of this process."""
log = logging.getLogger("uvicorn.error")


def pin(buffer: Any, cuda_version: str) -> bool:
    """Pin an array's memory, by the CUDA runtime of that version, e.g. ``13.0``; say whether it is now.

    It is never unpinned: pin only what lives as long as the process. Not pinned, it is copied all the same.
    """
    library = f"libcudart.so.{cuda_version.partition('.')[0]}"
    try:
        cuda = ctypes.CDLL(library)
        register, forget_error = cuda.cudaHostRegister, cuda.cudaGetLastError
    except (OSError, AttributeError) as error:
        log.warning("batches are not pinned: %s", error)
        return False
    code = register(ctypes.c_void_p(buffer.ctypes.data), ctypes.c_size_t(buffer.nbytes), _PORTABLE)
    if code:
        # CUDA keeps the error for this thread, and an engine would take it for that of its next kernel.
        forget_error()
        log.warning("batches are not pinned: error %d of cudaHostRegister", code)
    return not code
