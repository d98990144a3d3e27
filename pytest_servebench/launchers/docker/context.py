"""What an image is built from, as the engine is sent it: chunks of a tar, and a digest of the same."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_servebench.containers import ImageBuild
from pytest_servebench.errors import LaunchError

DOCKERFILE = "Dockerfile"
_CHUNK_BYTES = 2**20
_LEFT_OUT = "__pycache__"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a build context."""

    name: str
    path: Path
    executable: bool


def entries(build: ImageBuild) -> tuple[Entry, ...]:
    """Return the files of a build by their names in its context, sorted; raises `LaunchError`."""
    sources = {**build.files, DOCKERFILE: build.dockerfile_path}
    found = (entry for name, path in sources.items() for entry in _below(name, path))
    try:
        return tuple(sorted(found, key=lambda entry: entry.name))
    except OSError as error:
        raise LaunchError(
            "an image cannot be built: a file for it cannot be read",
            where=str(build.dockerfile_path),
            seen=str(error),
            next_step="see that all of these are there: " + ", ".join(str(path) for path in sources.values()),
        ) from error


def tag_of(build: ImageBuild) -> str:
    """Return 12 hexadecimal digits of SHA-256 over names, rights and contents of all files, and arguments."""
    digest = hashlib.sha256()
    for key, value in sorted(build.arguments.items()):
        digest.update(f"{len(key)} {len(value)} {key}{value}".encode())
    for entry in entries(build):
        digest.update(f"{len(entry.name)} {entry.name} {entry.executable} {_size(entry)} ".encode())
        for chunk in _chunks(entry):
            digest.update(chunk)
    return digest.hexdigest()[:12]


def tar_chunks(build: ImageBuild) -> Iterator[bytes]:
    """Yield the build's files as a tar, without owners and times: equal files make equal layers."""
    for entry in entries(build):
        head = tarfile.TarInfo(entry.name)
        head.size = _size(entry)
        head.mode = 0o755 if entry.executable else 0o644
        yield head.tobuf(tarfile.PAX_FORMAT)
        yield from _chunks(entry)
        yield bytes(-head.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _below(name: str, path: Path) -> Iterator[Entry]:
    if not path.is_dir():
        yield Entry(name, path, bool(path.stat().st_mode & 0o100))
        return
    for each in path.iterdir():
        if each.name != _LEFT_OUT:
            yield from _below(f"{name}/{each.name}", each)


def _size(entry: Entry) -> int:
    return entry.path.stat().st_size


def _chunks(entry: Entry) -> Iterator[bytes]:
    with entry.path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
