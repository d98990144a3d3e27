"""Which GPU a name means, as people write it and as drivers report it (pure)."""

from __future__ import annotations

import re

_WORDS = re.compile(r"[\s-]+")
_SAME_KIND = re.compile(r"\d+gb|hbm\w*|pcie|sxm\d*|nvl|gpu", re.IGNORECASE)
"""What may follow a name and be the same kind of GPU still: its memory, and how it is connected."""


def is_gpu(asked: str, reported: str) -> bool:
    """Return whether a GPU that its driver reports as ``reported`` is of the kind ``asked``.

    The words of ``asked`` stand in it as they are, upper or lower case, and what follows them says no more
    than memory and connection: ``H100`` is an ``NVIDIA H100 80GB HBM3``, ``RTX 4090`` no ``RTX 4090 Laptop
    GPU``, ``T4`` no ``T400``, and nothing of it a part that MIG made. ``*`` at the end is whatever follows.
    """
    anything = asked.endswith("*")
    wanted, seen = _words(asked.removesuffix("*")), _words(reported)
    for start in range(len(seen) - len(wanted) + 1):
        after = seen[start + len(wanted) :]
        if seen[start : start + len(wanted)] == wanted and (
            anything or all(map(_SAME_KIND.fullmatch, after))
        ):
            return True
    return False


def _words(name: str) -> list[str]:
    return [word for word in _WORDS.split(name.lower()) if word]
