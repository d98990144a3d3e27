"""Where the real Triton server lies inside the ``nvidia-pytriton`` wheel, found without importing it."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pytest_servebench.plan import MissingPiece

INSTALL = 'pip install "pytest-servebench[triton]"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """The Python whose packages the server's models shall see."""

    version: str
    """``3.11``."""
    bin_path: Path
    """Folder of its ``python3``, in a virtual environment that environment's."""
    libpython_paths: tuple[Path, ...]
    """Where its shared library may lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonWheel:
    """The installed wheel, by the folder of its package ``pytriton``."""

    package_path: Path

    @property
    def server_path(self) -> Path:
        """The ``tritonserver`` binary."""
        return self.package_path / "tritonserver" / "bin" / "tritonserver"

    @property
    def python_backend_path(self) -> Path:
        """The folder of the Python backend, without a stub."""
        return self.package_path / "tritonserver" / "backends" / "python"

    @property
    def libraries_path(self) -> Path:
        """The folder of the shared libraries that the server and its stubs link to."""
        return self.package_path.parent / "nvidia_pytriton.libs"

    def stub_path(self, version: str) -> Path:
        """Return where the stub process for Python ``version`` lies when there is one."""
        return self._stubs_path / version / "triton_python_backend_stub"

    def stub_versions(self) -> tuple[str, ...]:
        """Return the Python versions that have a stub, oldest first."""
        stubs = self._stubs_path.glob("*/triton_python_backend_stub")
        return tuple(sorted((stub.parent.name for stub in stubs), key=_version_key))

    @property
    def _stubs_path(self) -> Path:
        return self.package_path / "tritonserver" / "python_backend_stubs"


def find_wheel() -> TritonWheel | None:
    """Return the installed wheel; None when its package or its binary is not there."""
    spec = find_spec("pytriton")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        wheel = TritonWheel(package_path=Path(location))
        if wheel.server_path.is_file():
            return wheel
    return None


def running_interpreter() -> Interpreter:
    """Return the Python that runs this."""
    return Interpreter(
        version=f"{sys.version_info.major}.{sys.version_info.minor}",
        bin_path=Path(sys.executable).parent,
        libpython_paths=tuple(_libpython_folders()),
    )


def libpython_path(interpreter: Interpreter) -> Path | None:
    """Return the folder of its shared library; None when it has none."""
    name = f"libpython{interpreter.version}.so.1.0"
    return next((path for path in interpreter.libpython_paths if (path / name).is_file()), None)


def missing_server(wheel: TritonWheel | None, interpreter: Interpreter) -> tuple[MissingPiece, ...]:
    """Return what the server itself lacks on this machine, given what was found."""
    if wheel is None:
        return (MissingPiece(what="the Triton server (package nvidia-pytriton)", remedy=INSTALL),)
    lacks = (
        (not wheel.stub_path(interpreter.version).is_file(), _missing_stub(wheel, interpreter)),
        (libpython_path(interpreter) is None, _missing_libpython(interpreter)),
        (shutil.which("bash") is None, _MISSING_BASH),
    )
    return tuple(piece for lacking, piece in lacks if lacking)


_MISSING_BASH = MissingPiece(
    what="bash, by which Triton starts its Python models", remedy="apt-get install bash"
)


def _missing_stub(wheel: TritonWheel, interpreter: Interpreter) -> MissingPiece:
    known = ", ".join(wheel.stub_versions()) or "no version"
    return MissingPiece(
        what=f"Triton's Python backend for Python {interpreter.version}"
        f" (the installed nvidia-pytriton has it for {known})",
        remedy=f"{INSTALL} under a Python version that it has",
    )


def _missing_libpython(interpreter: Interpreter) -> MissingPiece:
    version = interpreter.version
    return MissingPiece(
        what=f"libpython{version}.so.1.0, the shared library of this Python",
        remedy=f"apt-get install libpython{version}, or use a Python built with --enable-shared",
    )


def _libpython_folders() -> Iterator[Path]:
    library = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
    yield library
    # Debian keeps it one level deeper; relocated builds keep it beside their standard library.
    yield library / (sysconfig.get_config_var("MULTIARCH") or "")
    yield Path(sys.base_prefix) / "lib"


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
