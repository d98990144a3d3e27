"""An image with this machine's Prometheus in it: there may be no registry to pull one from."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.engine import BASE, REQUIRED

DOCKERFILE = """\
FROM {base}
COPY prometheus promtool /bin/
RUN mkdir -p /prometheus && chown 65534:65534 /prometheus
USER 65534:65534
ENTRYPOINT ["/bin/prometheus"]
"""
"""As the official image has it: the same user, the same folder, the same entry point."""


@contextmanager
def prometheus_image(engine: Any) -> Iterator[str]:
    """Give the name of the image, which goes away with the block; skip where Prometheus is not installed."""
    programs = {name: shutil.which(name) for name in ("prometheus", "promtool")}
    absent = [name for name, path in programs.items() if path is None]
    if absent:
        why_not = f"{' and '.join(absent)} not installed (Debian's package prometheus has both)"
        pytest.fail(why_not, pytrace=False) if os.environ.get(REQUIRED) else pytest.skip(why_not)
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        _add(tar, "Dockerfile", DOCKERFILE.format(base=BASE).encode())
        for name, path in programs.items():
            _add(tar, name, Path(path or "").read_bytes())
    context.seek(0)
    name = f"servebench-test-prometheus:{os.getpid()}"
    # Without a network: it needs none, and an engine may have no bridge.
    engine.images.build(
        fileobj=context, custom_context=True, tag=name, rm=True, forcerm=True, network_mode="none"
    )
    try:
        yield name
    finally:
        engine.images.remove(name, force=True)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o755
    tar.addfile(member, io.BytesIO(content))
