"""What figures depend on besides the server's own code: two runs are compared where it is the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_servebench.comparison.replicates import Record

ALL = "all"


def fingerprint(record: Record) -> dict[str, str]:
    """Return the facts by name (``cpu``, ``gpu``, ``versions.onnxruntime``, ...), each as text."""
    machine: Mapping[str, Any] = record.get("machine") or {}
    versions = {f"versions.{name}": version for name, version in (machine.get("packages") or {}).items()}
    facts = {
        "cpu": machine.get("cpu"),
        "cores": machine.get("cores_usable"),
        "gpu": ", ".join(machine.get("gpus") or ()),
        "driver": machine.get("gpu_driver"),
        "launcher": record.get("launcher"),
        "device": record.get("device"),
        "backend": record.get("backend"),
        "weights": record.get("weights"),
        "model file": record.get("artifact_sha256"),
        **versions,
    }
    return {name: "none" if fact is None else str(fact) for name, fact in facts.items()}


def differences(before: Iterable[Record], now: Iterable[Record], allowed: frozenset[str]) -> Sequence[str]:
    """Return each fact in which the sides differ, in words, but for those allowed to.

    ``versions`` allows every ``versions.X``, ``all`` everything.
    """
    if ALL in allowed:
        return ()
    sides = [[fingerprint(record) for record in side] for side in (before, now)]
    found = []
    for name in dict.fromkeys(name for side in sides for facts in side for name in facts):
        seen = [sorted({facts.get(name, "none") for facts in side}) for side in sides]
        if seen[0] != seen[1] and not {name, name.partition(".")[0]} & allowed:
            found.append(f"{name} was {' or '.join(seen[0])}, is {' or '.join(seen[1])}")
    return found
