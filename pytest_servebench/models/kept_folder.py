"""Folders of model files on disk: each built once, kept by content and versions, rebuilt when broken.

A folder is written elsewhere and moved into place when it is whole, under a lock that other
processes wait for. Its hashes are verified at each use.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from errno import EDQUOT, ENOSPC
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from pytest_servebench.errors import ModelError
from pytest_servebench.folders.made_once import made_whole, one_maker
from pytest_servebench.folders.manifest import file_sha256, intact_files, write_manifest
from pytest_servebench.models.labels import LABELS_PATH

CACHE_VARIABLE = "SERVEBENCH_CACHE"
CARD, LABELS = "card.json", "labels.json"
_LOCK_TIMEOUT_S = 900.0
ROOM_BYTES = 300_000_000
"""What a large export takes; less free space after a failure is named as its likely cause."""


class Order(Protocol):
    """What shall be built, with everything that shapes the result."""

    @property
    def title(self) -> str:
        """What is built, for errors: ``resnet50``."""

    @property
    def folder_name(self) -> str:
        """A name that differs when the result may differ."""

    @property
    def model_files(self) -> tuple[str, ...]:
        """The names of the files that the build writes."""

    def card_content(self, hashes: Mapping[str, str], folder: Path) -> Mapping[str, object]:
        """Return what ``card.json`` holds, by the hashes of the model files that lie in ``folder``."""


OrderT = TypeVar("OrderT", bound=Order)


def exported_folder(
    order: OrderT, cache_dir: Path, build: Callable[[OrderT, Path], None]
) -> tuple[Path, Mapping[str, str]]:
    """Return the folder of ``order`` and the hashes of its files, building it when it is not whole.

    ``build`` writes the model files into the folder it is given. Only one process builds;
    the others wait and find it done.
    """
    folder = cache_dir.absolute() / "models" / order.folder_name
    files = intact_files(folder, _required(order))
    if files is not None:
        return folder, files
    with one_maker(folder, timeout_s=_LOCK_TIMEOUT_S, busy=_busy, unwritable=partial(_unwritable, cache_dir)):
        files = intact_files(folder, _required(order)) or _rebuild(order, folder, build)
    return folder, files


def _required(order: Order) -> tuple[str, ...]:
    return (*order.model_files, CARD, LABELS)


def _rebuild(order: OrderT, folder: Path, build: Callable[[OrderT, Path], None]) -> Mapping[str, str]:
    with made_whole(folder) as staging:
        build(order, staging)
        _write_companions(order, staging)
    files = intact_files(folder, _required(order))
    if files is None:
        raise ModelError(
            f"the export of {order.title} changed while it was written",
            where=str(folder),
            next_step="check the disk, then run again",
        )
    return files


def _write_companions(order: Order, folder: Path) -> None:
    hashes = {name: file_sha256(folder / name) for name in order.model_files}
    card = json.dumps(order.card_content(hashes, folder), indent=2)
    (folder / CARD).write_text(card + "\n", encoding="utf-8")
    shutil.copyfile(LABELS_PATH, folder / LABELS)
    write_manifest(folder)


def _busy(lock: str) -> ModelError:
    return ModelError(
        f"another process has been exporting for {_LOCK_TIMEOUT_S:.0f} s",
        where=lock,
        next_step="end that process, then run again",
    )


def _unwritable(cache_dir: Path, error: OSError) -> ModelError:
    if error.errno in {ENOSPC, EDQUOT}:
        return disk_full(cache_dir, str(error))
    return ModelError(
        "the cache folder for exported models cannot be written",
        where=str(cache_dir),
        seen=str(error),
        next_step=f"make it writable, or set {CACHE_VARIABLE} to a folder that is",
    )


def disk_full(folder: Path, seen: str) -> ModelError:
    """Return the error of a disk without room for another export."""
    return ModelError(
        "there is no room on the disk for exported models",
        where=str(folder),
        seen=seen,
        next_step=f"free {ROOM_BYTES / 1e6:.0f} MB there, or set {CACHE_VARIABLE} to a folder elsewhere",
    )
