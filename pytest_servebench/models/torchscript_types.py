"""Reads which numbers a TorchScript file holds, without torch: it is a zip of pickles that name them.

Nothing in the file is run: whatever its pickle would call is replaced, and only what it says of its storages
(``torch.FloatStorage`` and how many numbers) is kept.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile, ZipFile

_PRECISIONS = {
    "FloatStorage": "fp32",
    "HalfStorage": "fp16",
    "BFloat16Storage": "bf16",
    "CharStorage": "int8",
    "QInt8Storage": "int8",
}
"""By the storages that weights lie in; others hold counters and shapes."""
_BROKEN = (pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError, ValueError)
"""What pickle raises for bytes that are no pickle of tensors."""


def numbers_by_precision(path: Path) -> Mapping[str, int]:
    """Return how many numbers the weights hold, by precision; raises ``ValueError`` for another file."""
    try:
        with ZipFile(path) as archive:
            name = next(one for one in archive.namelist() if one.endswith("/data.pkl"))
            with archive.open(name) as file:
                reader = _Storages(file)
                reader.load()
    except (BadZipFile, StopIteration, *_BROKEN) as error:
        raise ValueError(f"{path.name} is no TorchScript file: {error or type(error).__name__}") from error
    found: dict[str, int] = {}
    for kind, count in reader.storages.values():
        if kind in _PRECISIONS:
            found[_PRECISIONS[kind]] = found.get(_PRECISIONS[kind], 0) + count
    return found


class _Anything:
    """Stands for whatever the pickle makes."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass

    def __setitem__(self, _: object, __: object) -> None:
        pass


class _Storages(pickle.Unpickler):
    """Keeps of a pickle what it says of storages, each once however many tensors share it."""

    storages: dict[str, tuple[str, int]]

    def find_class(self, module: str, name: str) -> object:
        """Return the name of a storage's class, and nothing that could be run."""
        return name if module == "torch" and name.endswith("Storage") else _Anything

    def persistent_load(self, pid: tuple[str, str, str, str, int]) -> _Anything:
        """Note one storage."""
        _, kind, key, _, count = pid
        self.storages[key] = (kind, count)
        return _Anything()

    def load(self) -> object:
        """Read all of it."""
        self.storages = {}
        return super().load()
