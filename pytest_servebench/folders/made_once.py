"""Folders that one process makes while others wait for it, and that are there whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pytest_servebench.errors import ServebenchError

HOW_MADE = "made.json"
"""In the folder of a prepared file: from what, by which command, and its hash."""


@contextmanager
def one_maker(
    place: Path,
    *,
    timeout_s: float,
    busy: Callable[[str], ServebenchError],
    unwritable: Callable[[OSError], ServebenchError],
) -> Iterator[None]:
    """Hold the lock beside ``place``, whose folder is made.

    Raises what ``busy`` returns for the lock's path when another process held it for ``timeout_s``, and what
    ``unwritable`` returns for any other error of the disk, those of the block among them.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock", timeout=timeout_s):
            yield
    except Timeout as error:
        raise busy(error.lock_file) from error
    except OSError as error:
        raise unwritable(error) from error


@contextmanager
def made_whole(place: Path) -> Iterator[Path]:
    """Give an empty folder that becomes ``place`` when the block ends; after an error neither is there.

    What lay there before is removed first. Whoever calls holds the lock.
    """
    staging = place.with_name(f".building-{place.name}")
    for leftover in (staging, place):
        if leftover.exists():
            shutil.rmtree(leftover)
    staging.mkdir()
    try:
        yield staging
        staging.rename(place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
