from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_servebench.errors import MissingPieceError, ModelError, PlanError
from pytest_servebench.models import export
from pytest_servebench.models.catalogue import ModelCard, model_card
from pytest_servebench.models.export import ExportOrder, artifact, export_order
from pytest_servebench.models.kept_folder import exported_folder
from pytest_servebench.models.weights import Weights
from pytest_servebench.plan import ModelFormat
from tests.unit.models.small_export import Builder, order

ROOT = Path(export.__file__).resolve().parents[2]


def below_a_file(tmp_path: Path) -> Path:
    """Return a folder that nobody can make, root included."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "cache"


@pytest.mark.parametrize(
    "place", [below_a_file, lambda _: Path("/proc/servebench")], ids=["below a file", "proc"]
)
def test_a_cache_folder_that_cannot_be_written_says_so(tmp_path: Path, place: Callable[[Path], Path]) -> None:
    """The error names the folder and the variable that moves it."""
    folder = place(tmp_path)
    with pytest.raises(ModelError) as caught:
        exported_folder(order(), folder, Builder())
    message = str(caught.value)
    assert message.startswith(f"the cache folder for exported models cannot be written\n  where: {folder}\n")
    assert "next: make it writable, or set SERVEBENCH_CACHE to a folder that is" in message


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_so(tmp_path: Path, code: int) -> None:
    """No room on the disk is told from a folder without permission."""

    def build(_order: ExportOrder, _folder: Path) -> None:
        raise OSError(code, os.strerror(code))

    with pytest.raises(ModelError) as caught:
        exported_folder(order(), tmp_path, build)
    assert str(caught.value).startswith("there is no room on the disk for exported models\n")
    assert "next: free 300 MB there, or set SERVEBENCH_CACHE to a folder elsewhere" in str(caught.value)


def test_a_failing_export_with_little_room_names_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing torch does not say that the disk is full; the free space after its failure does."""
    usage = type("Usage", (), {"free": 3_000_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(
        export, "_export_command", lambda *_: [sys.executable, "-c", "raise SystemExit('oh')"]
    )
    with pytest.raises(ModelError) as caught:
        exported_folder(order(), tmp_path, export.run_export)
    assert "there is no room on the disk" in str(caught.value)
    assert "seen: 3 MB free; exit code 1: oh" in str(caught.value)


def test_an_export_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No session waits for ever for an export."""
    monkeypatch.setattr(export, "_EXPORT_TIMEOUT_S", 0.2)
    command = [sys.executable, "-c", "import threading; threading.Event().wait()"]
    monkeypatch.setattr(export, "_export_command", lambda *_: command)
    with pytest.raises(ModelError, match=r"not done after 0 s"):
        exported_folder(order(), tmp_path, export.run_export)


def test_an_export_ends_with_the_session_that_asked(tmp_path: Path) -> None:
    """A killed session leaves no process behind, and the next one exports what it began."""
    code = (
        "import sys; from pathlib import Path;"
        "from pytest_servebench.models.export import artifact;"
        "from pytest_servebench.plan import ModelFormat;"
        "artifact('resnet50', ModelFormat.ONNX, Path(sys.argv[1]))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    session = psutil.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment)
    try:
        child = _eventually(lambda: next(iter(session.children()), None))
        # It has asked the kernel by the time that it loads torch.
        _eventually(lambda: any("libtorch" in file.path for file in child.memory_maps()) or None)
    finally:
        session.kill()
        session.wait()
    child.wait(timeout=10)
    assert not child.is_running()


def _eventually(look: Callable[[], Any], timeout_s: float = 60) -> Any:
    """Return what ``look`` finds as soon as it finds something; another process is looked at."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(psutil.AccessDenied):
            found = look()
            if found is not None:
                return found
        time.sleep(0.02)
    pytest.fail(f"nothing seen within {timeout_s} s")


def test_an_unknown_model_is_a_plan_error(tmp_path: Path) -> None:
    """A wrong name is found before anything is written."""
    with pytest.raises(PlanError):
        artifact("alexnet", ModelFormat.ONNX, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch the error is the command that installs it."""
    card = ModelCard(name="resnet50", summary="", distributions=("no-such-distribution",))
    with pytest.raises(MissingPieceError) as caught:
        export_order(card, Weights(label=""))
    assert "needs the package no-such-distribution" in str(caught.value)
    monkeypatch.setattr(export, "find_spec", lambda _: None)
    with pytest.raises(MissingPieceError, match=r"onnxruntime(.|\n)*pytest-servebench\[models\]"):
        export_order(model_card("resnet50"), Weights(label=""))
