"""Files that a server's image makes: each made once, kept by what shapes it, made again when broken.

What is made lies in ``CACHE/plans/NAME-KEY``, with ``made.json``: its hash, and what it was made from and on.
The log of the last try lies beside, in ``NAME-KEY.log``. The folder is written elsewhere and moved into place
when it is whole, under a lock for its GPU and image: two that are made side by side on a GPU would be timed
against each other. Hashes are verified at each use.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from pytest_servebench.containers import Preparation
from pytest_servebench.errors import LaunchError
from pytest_servebench.folders.made_once import HOW_MADE, made_whole, one_maker
from pytest_servebench.folders.manifest import file_sha256

_LOCK_TIMEOUT_S = 3600.0

Make = Callable[[Path], None]
"""Writes the product, and what else is kept, into the folder that it is given; raises `LaunchError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Where files are kept, and what they are made on."""

    cache_dir: Path
    gpu: Callable[[int], str]
    """Says of a GPU, by its number in the engine's count, what a compiled model depends on: its name, what
    it can compute, its driver."""

    def made_on(self, indexes: Sequence[int]) -> str:
        """Return what a file is made on that serves on these GPUs; raises `LaunchError` for unequal ones."""
        kinds = tuple(dict.fromkeys(map(self.gpu, indexes)))
        if len(kinds) > 1:
            raise LaunchError(
                "what is compiled for one GPU cannot be served on others",
                seen="; ".join(kinds),
                next_step="serve on GPUs of one kind: --serve-device=cuda:N",
            )
        return kinds[0] if kinds else "no GPU"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One file to have, with everything that shapes it."""

    preparation: Preparation
    image_id: str
    gpu: str
    folder: Path
    """That of all that is made."""

    @property
    def facts(self) -> dict[str, object]:
        """Return what the file is made from and on."""
        wanted = self.preparation
        return {
            "name": wanted.name,
            "product": wanted.product,
            "gpu": self.gpu,
            "image": wanted.image.name,
            "image_id": self.image_id,
            "source_sha256": wanted.source_sha256,
            "argv": list(wanted.argv),
            "environment": dict(wanted.environment),
            "settings": dict(wanted.settings),
        }

    @property
    def place(self) -> Path:
        """Return the folder of this file alone."""
        return self.folder / f"{self.preparation.name}-{_digest(self.facts)}"

    @property
    def log_path(self) -> Path:
        """Return where what its tools say is kept, whether they succeed or not."""
        return Path(f"{self.place}.log")

    @property
    def bench(self) -> Path:
        """Return the folder of what all files of this image and GPU share."""
        return self.folder / f"shared-{_digest({'gpu': self.gpu, 'image_id': self.image_id})}"


def have_made(order: Order, make: Make) -> Path:
    """Return the file, made by ``make`` where it is not there whole; of several processes one makes it.

    Raises `LaunchError`; what was written until then is removed.
    """
    product = order.place / order.preparation.product
    if _is_whole(order):
        return product
    alone = one_maker(
        order.bench,
        timeout_s=_LOCK_TIMEOUT_S,
        busy=partial(_busy, order),
        unwritable=partial(_not_kept, order),
    )
    with alone:
        order.bench.mkdir(exist_ok=True)
        if not _is_whole(order):
            _make_anew(order, make)
    return product


def _make_anew(order: Order, make: Make) -> None:
    with made_whole(order.place) as staging:
        _bring_kept(order.bench, staging, order.preparation)
        make(staging)
        _write_facts(order, staging)
        _bring_kept(staging, order.bench, order.preparation)


def _bring_kept(here: Path, there: Path, preparation: Preparation) -> None:
    for name in preparation.kept:
        if (here / name).is_file():
            part = there / f".{name}.part"
            shutil.copyfile(here / name, part)
            part.replace(there / name)


def _write_facts(order: Order, folder: Path) -> None:
    try:
        digest = file_sha256(folder / order.preparation.product)
    except OSError as error:
        raise LaunchError(
            f"{order.preparation.product} for {order.preparation.name} was not made",
            where=f"image {order.preparation.image.name}",
            seen=f"its tools ended well and left no such file: {error}",
            next_step=order.preparation.next_step,
        ) from error
    text = json.dumps({"schema": 1, "sha256": digest, "made_from": order.facts}, indent=2)
    (folder / HOW_MADE).write_text(text + "\n", encoding="utf-8")


def _is_whole(order: Order) -> bool:
    """Return whether the file is as it was written."""
    try:
        said = json.loads((order.place / HOW_MADE).read_text(encoding="utf-8"))["sha256"]
        return bool(file_sha256(order.place / order.preparation.product) == said)
    except (OSError, ValueError, KeyError, TypeError):
        # Whatever is wrong with it, the remedy is the same: make it again.
        return False


def _digest(content: Mapping[str, object]) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _busy(order: Order, lock: str) -> LaunchError:
    return LaunchError(
        f"another process has been making files for {order.gpu} for {_LOCK_TIMEOUT_S:.0f} s",
        where=lock,
        next_step="end that process, then run again",
    )


def _not_kept(order: Order, error: OSError) -> LaunchError:
    return LaunchError(
        f"{order.preparation.product} for {order.preparation.name} cannot be kept",
        where=str(order.folder),
        seen=str(error),
        next_step="free space on that disk, or set SERVEBENCH_CACHE to a folder that can be written",
    )
