"""Several engines told as one: what a server over several GPUs says that it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def joined_facts(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the facts of engines that serve one queue, in the shape of one's.

    What all say is said once; ``cuda:0`` and ``cuda:1`` are ``cuda:0,1``; of numbers the largest, so that
    the one that computes most on the CPU is seen; words that differ are joined by "and".
    """
    names = dict.fromkeys(name for facts in each for name in facts)
    return {name: _joined([facts[name] for facts in each if name in facts]) for name in names}


def _joined(values: Sequence[Any]) -> Any:
    if all(value == values[0] for value in values):
        return values[0]
    if all(isinstance(value, Mapping) for value in values):
        return joined_facts(values)
    if all(isinstance(value, (int, float)) for value in values):
        return max(values)
    return joined_words(list(map(str, values)))


def joined_words(words: Sequence[str]) -> str:
    """Return ``torch cuda:0,1`` of ``torch cuda:0`` and ``torch cuda:1``; what else differs with an "and"."""
    different = list(dict.fromkeys(words))
    heads, _, indexes = zip(*(word.rpartition("cuda:") for word in different), strict=True)
    if len(different) > 1 and len(set(heads)) == 1 and all(index.isdecimal() for index in indexes):
        return f"{heads[0]}cuda:{','.join(indexes)}"
    return " and ".join(different)
