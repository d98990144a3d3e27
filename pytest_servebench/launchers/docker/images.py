"""Has an image there: used when it is present, else pulled or built."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from pytest_servebench.containers import ContainerImage, ImageBuild
from pytest_servebench.errors import LaunchError
from pytest_servebench.folders.own_folder import own_folder
from pytest_servebench.launchers.docker.context import tag_of, tar_chunks
from pytest_servebench.launchers.docker.engine import Engine, EngineError

IMAGE_LABEL = "servebench.image"
"""On every image that is built, with its name: ``docker image ls --filter label=servebench.image``."""
BUILT_PREFIX = "servebench/"
LAST_LINES = 20
ID_PREFIX = "sha256:"
_ID = re.compile(rf"({ID_PREFIX})?[0-9a-f]{{4,64}}")

Progress = Callable[[str], None]
Making = Callable[[str, str], None]
"""Hears the name of an image that is made, and a line of what the engine says."""


@dataclass(frozen=True, slots=True)
class PresentImage:
    """An image that is there."""

    name: str
    """With tag or digest."""
    id: str
    """``sha256:...``."""


def full_name(image: ContainerImage) -> str:
    """Return an image's name with its tag: that of what it is built from, ``latest`` for one without.

    Raises `LaunchError` when what it is built from cannot be read.
    """
    if image.build is not None:
        return f"{BUILT_PREFIX}{image.name.removeprefix(BUILT_PREFIX)}:{tag_of(image.build)}"
    last = image.name.rpartition("/")[2]
    return image.name if ":" in last or "@" in last else f"{image.name}:latest"


def have_image(engine: Engine, image: ContainerImage, making: Making) -> PresentImage:
    """Return an image once it is there; of several processes that want it one makes it.

    Raises `LaunchError` with the last lines of what the engine said.
    """
    name = full_name(image)
    try:
        present = _by_id(engine, image) or _present(engine, name)
        if present is None:
            with _alone(name):
                present = _present(engine, name) or _make(engine, name, image.build, making)
    except EngineError as error:
        raise _not_had(name, image.build, str(error), ()) from error
    return present


def _by_id(engine: Engine, image: ContainerImage) -> PresentImage | None:
    """Return the image that is named by its id, or the begin of it; None: by none that is here."""
    if image.build is not None or not _ID.fullmatch(image.name):
        return None
    present = _present(engine, image.name)
    # A name may look like an id, and the engine prefers it: then it has a tag.
    return present if present and _digits(present.id).startswith(_digits(image.name)) else None


def _digits(image_id: str) -> str:
    return image_id.removeprefix(ID_PREFIX)


def _present(engine: Engine, name: str) -> PresentImage | None:
    seen = engine.image(name)
    return None if seen is None else PresentImage(name, seen["Id"])


def _make(engine: Engine, name: str, build: ImageBuild | None, making: Making) -> PresentImage:
    last: deque[str] = deque(maxlen=LAST_LINES)

    def heard(line: str) -> None:
        last.append(line)
        making(name, line)

    try:
        heard("it is pulled" if build is None else "it is built")
        _pull(engine, name, heard) if build is None else _build(engine, name, build, heard)
        present = _present(engine, name)
    except EngineError as error:
        raise _not_had(name, build, str(error), last) from error
    if present is None:
        raise _not_had(name, build, "the engine said it was done, and it is not there", last)
    return present


def _pull(engine: Engine, name: str, heard: Progress) -> None:
    repository, at, digest = name.partition("@")
    tag = digest
    if not at:
        repository, _, tag = name.rpartition(":")
    with closing(engine.pull(repository, tag)) as said:
        _hear(said, heard)


def _build(engine: Engine, name: str, build: ImageBuild, heard: Progress) -> None:
    labels = {IMAGE_LABEL: name.removeprefix(BUILT_PREFIX).partition(":")[0]}
    said = engine.build(
        tar_chunks(build),
        tag=name,
        buildargs=dict(build.arguments),
        labels=labels,
        rm=True,
        # Also after a failure: nothing is left of a build but an image.
        forcerm=True,
    )
    with closing(said):
        _hear(said, heard)


def _hear(said: Iterable[Mapping[str, Any]], heard: Progress) -> None:
    """Pass on what the engine says; raises `EngineError` for what it says went wrong."""
    for item in said:
        if "error" in item:
            raise EngineError(str(item["error"]).strip())
        for line in _lines(item):
            heard(line)


def _lines(item: Mapping[str, Any]) -> list[str]:
    """Return what one message says to a person; the bytes of each layer, many times a second, do not."""
    if "stream" in item:
        return [line for line in str(item["stream"]).splitlines() if line.strip()]
    if "status" in item and not item.get("progressDetail"):
        return [" ".join(filter(None, (item.get("id"), item["status"])))]
    return []


def _not_had(name: str, build: ImageBuild | None, seen: str, last: Iterable[str]) -> LaunchError:
    said = [line for line in last if line]
    lines = [f"{seen}; the last lines before it:", *said] if said else [seen]
    pulled = f"see whether this works: docker pull {name}; or name an image that is here"
    built = "see its Dockerfile; without a package index, images are built from a folder of wheels"
    return LaunchError(
        f"the image {name} cannot be {'pulled' if build is None else 'built'}",
        where="the image's registry" if build is None else str(build.dockerfile_path),
        seen="\n    ".join(lines),
        next_step=pulled if build is None else built,
    )


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Be the only process of this user that makes this image; raises `LaunchError` where that cannot be."""
    folder = Path(tempfile.gettempdir()) / f"servebench-images-{os.getuid()}"
    try:
        # Nobody else may put anything in the lock's place: not in a folder that only we may enter.
        lock = FileLock(own_folder(folder) / f"{hashlib.sha256(name.encode()).hexdigest()}.lock")
        lock.acquire()
    except OSError as error:
        raise LaunchError(
            f"the image {name} cannot be made: no lock can be had, so that it is made once",
            where=str(folder),
            seen=str(error),
            next_step="remove what is there, or give another folder for temporary files with TMPDIR",
        ) from error
    try:
        yield
    finally:
        lock.release()
