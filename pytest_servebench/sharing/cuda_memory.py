"""A region of a GPU's memory that a server on the same machine can open by its handle.

Made by Triton's client, whose module imports CUDA: it is imported here when a case asks for such a region,
and never before. The memory is this process's, so that it is gone with it at the latest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytest_servebench.errors import LoadError, MissingPieceError
from pytest_servebench.sharing.shared_requests import SharedRequests

INSTALL = 'pip install "pytest-servebench[triton]" cuda-python'


@contextmanager
def gpu_region(shared: SharedRequests) -> Iterator[bytes]:
    """Have a region of ``shared.gpu`` hold the tensors while the block runs; yields its handle in base64.

    Raises `MissingPieceError` without the packages, or with one too old for the other, and `LoadError` when
    the GPU refuses it.
    """
    memory, handle = _helpers(), None
    try:
        try:
            handle = memory.create_shared_memory_region(shared.region, shared.size_bytes, shared.gpu)
            memory.set_shared_memory_region(handle, list(shared.tensors))
            raw_handle = bytes(memory.get_raw_handle(handle))
        except memory.CudaSharedMemoryException as error:
            raise _no_room(shared, error) from error
        except AttributeError as error:
            # Before 2.73 it read a handle's ``reserved``, which cuda-python 13.4 dropped.
            raise _too_old(error) from error
        yield raw_handle
    finally:
        if handle is not None:
            memory.destroy_shared_memory_region(handle)
            # Triton's client frees the memory when nobody refers to it any more.
            del handle


def _helpers() -> Any:  # noqa: ANN401 (tritonclient has no types)
    # As servers are told and NVML does; CUDA by itself counts the fastest GPU first. It is read once, when
    # CUDA begins in this process.
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    try:
        from tritonclient.utils import cuda_shared_memory
    except (ImportError, RuntimeError) as error:  # it raises the latter where cuda-python is not installed
        raise MissingPieceError(
            "shared memory of a GPU needs the packages tritonclient and cuda-python.",
            seen=str(error),
            next_step=INSTALL,
        ) from error
    return cuda_shared_memory


def _no_room(shared: SharedRequests, error: Exception) -> LoadError:
    return LoadError(
        "A region of a GPU's memory cannot be made.",
        where=f"GPU {shared.gpu}, {shared.size_bytes:,} bytes",
        seen=": ".join(filter(None, (str(error), _reason(error.__cause__)))),
        next_step="see nvidia-smi for its free memory; cuda-python must not be newer than the driver allows;"
        " else --serve-payload=uint8",
    )


def _too_old(error: AttributeError) -> MissingPieceError:
    return MissingPieceError(
        "the installed tritonclient does not know the installed cuda-python.",
        seen=str(error),
        next_step="pip install 'tritonclient[all]>=2.73'; or pip install 'cuda-python<13.4'",
    )


def _reason(cause: BaseException | None) -> str:
    """Return CUDA's own words, which Triton's client hands on as bytes."""
    said = cause.args[0] if cause is not None and cause.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
