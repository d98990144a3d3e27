"""Says whether a kept folder or file is whole: ``manifest.json`` holds the hash of every file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

NAME = "manifest.json"


def write_manifest(folder: Path) -> None:
    """List every file of ``folder`` with its hash; the last step of a build."""
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    text = json.dumps({"schema": 1, "files": files}, indent=2)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def intact_files(folder: Path, required: Iterable[str]) -> Mapping[str, str] | None:
    """Return hash by file name when ``folder`` holds every file as it was written, else None.

    ``required`` names files that must be among them.

    Files the manifest does not name (a reference kept beside the model) do not matter.
    """
    try:
        listed = json.loads((folder / NAME).read_text(encoding="utf-8"))["files"]
        whole = all(file_sha256(folder / name) == digest for name, digest in listed.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Whatever is wrong with it, the remedy is the same: build it again.
        return None
    return dict(listed) if whole and listed.keys() >= set(required) else None


def file_sha256(path: Path) -> str:
    """Return the hash of a file's content; a file that has not changed is read once per process."""
    status = path.stat()
    return _hash_of(path, status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=256)
def _hash_of(path: Path, _size: int, _mtime_ns: int, _inode: int) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
