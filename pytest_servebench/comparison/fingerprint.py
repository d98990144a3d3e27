"""What figures depend on besides the server's own code: two runs are compared where it is the same.

How a case was asked and loaded is not in it, but in `conditions`. In neither are the kernel and the amount of
memory, which change often and a figure hardly; nor an image that the user named, because that image is
what is judged, as a handler's code is in a process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_servebench.comparison.replicates import Record
from pytest_servebench.errors import PlanError
from pytest_servebench.words import did_you_mean, listed

ALL = "all"
NONE = "none"
_VERSIONS = "versions"
FACTS = (
    *("cpu", "cores", "gpu", "driver", "launcher", "image", "device", "backend", "options", "python"),
    *("weights", "model-file", _VERSIONS),
)
"""The words for ``--serve-allow-different``; ``versions.NAME`` is one package."""
CONDITIONS = (
    *("stack", "model", "format", "max_batch_size", "max_queue_delay_ms", "precision", "input_dtype"),
    *(
        "threads",
        "payload",
        "protocol",
        "items_per_request",
        "objective",
        "images",
        "concurrency",
        "arrivals",
        "load.objective",
    ),
    *("abort_after_s", "max_in_flight", "warmup_s", "duration_s", "timeout_s", "verify_share", "engine"),
    *("workers", "steady", "load.precision", "quick"),
)
"""More words for it: how a case was asked and loaded."""

_GPUS = re.compile(r"(?P<kind>cuda):(?P<indexes>\d+(,\d+)*)", re.IGNORECASE)
_COUNT = re.compile(r"^\d+ x ")
"""Before the name of each kind, where telemetry is of several GPUs."""
_OURS = "servebench/"
"""How images begin that are built here; their tag says what from."""
_ALWAYS = ("pytest-servebench", "numpy")
"""The client's packages; of a server in the same environment, its own too."""
_OF_STACK: Mapping[str, tuple[str, ...]] = {
    "fastapi": ("fastapi", "uvicorn"),
    "triton": ("nvidia-pytriton",),
    # Its handlers import torch for every format.
    "torchserve": ("torchserve", "torch"),
}
_OF_FORMAT: Mapping[str, tuple[str, ...]] = {
    "onnx": ("onnxruntime", "onnxruntime-gpu"),
    "pytorch": ("torch",),
}
_OF_NO_SERVER = ("pytest", "pytest-benchmark", "tritonclient")
"""They shape no figure: requests are encoded before the clock starts."""


def fingerprint(record: Record) -> dict[str, str]:
    """Return the facts by name (``cpu``, ``gpu``, ``versions.onnxruntime``, ...), each as text."""
    machine: Mapping[str, Any] = record.get("machine") or {}
    on_gpu = str(record.get("device")).startswith("cuda")
    facts = {
        "cpu": machine.get("cpu"),
        "cores": _cores(record, machine),
        # A CPU case is the same beside any GPU; eight in the machine are no other kind than one of them.
        "gpu": _gpus(record, machine) if on_gpu else None,
        "driver": machine.get("gpu_driver") if on_gpu else None,
        "launcher": record.get("launcher"),
        "image": _image(record),
        # Workers of one run take the GPUs in turn: which one it was is chance, how many is not.
        "device": _without_index(record.get("device")),
        "backend": _without_index(record.get("backend")),
        # As its server told them: no case's id says how JPEG was decoded, or whether graphs were captured.
        "options": _options(record),
        "python": _minor(machine.get("python")) if _is_local(record) else None,
        "weights": record.get("weights"),
        "model-file": record.get("artifact_sha256"),
    }
    packages: Mapping[str, Any] = machine.get("packages") or {}
    found = {name: packages[name] for name in packages if _matters(name, record)}
    if record.get("k6"):
        found["k6"] = record["k6"].get("version")
    versions = {f"{_VERSIONS}.{name}": version for name, version in found.items()}
    return {name: NONE if fact in (None, "") else str(fact) for name, fact in {**facts, **versions}.items()}


def differences(before: Iterable[Record], now: Iterable[Record], allowed: frozenset[str]) -> Sequence[str]:
    """Return each fact that is not one and the same on both sides, in words, but for those allowed to differ.

    ``versions`` allows every ``versions.X``, ``all`` everything.
    """
    if ALL in allowed:
        return ()
    sides = [[fingerprint(record) for record in side] for side in (before, now)]
    found = []
    for name in dict.fromkeys(name for side in sides for facts in side for name in facts):
        seen = [sorted({facts.get(name, NONE) for facts in side}) for side in sides]
        is_one = seen[0] == seen[1] and len(seen[0]) == 1
        if not is_one and not {name, name.partition(".")[0]} & allowed:
            found.append(f"{name} was {_shown(seen[0])}, is {_shown(seen[1])}")
    return found


def parse_allowed(text: str, *, flag: str, where: str = "") -> frozenset[str]:
    """Return the facts in ``versions,cpu`` or ``all``; raises `PlanError` that names ``flag``."""
    words = frozenset(part.strip() for part in text.split(","))
    known = (*FACTS, ALL, *CONDITIONS)
    for word in sorted(words):
        is_package = word.startswith(f"{_VERSIONS}.") and word != f"{_VERSIONS}."
        if word not in known and not is_package:
            raise PlanError(
                f"{flag} does not know {word!r}{did_you_mean(word, known) if word else ''}",
                where=where,
                next_step=f"use one of: {listed((*FACTS, ALL))}, {_VERSIONS}.NAME for one package, "
                f"or for how it was asked: {listed(CONDITIONS)}",
            )
    return words


def mixed(records: Sequence[Record]) -> Sequence[str]:
    """Return each fact that is not the same for all ``records``, in words."""
    facts = [fingerprint(record) for record in records]
    names = dict.fromkeys(name for each in facts for name in each)
    values = {name: sorted({each.get(name, NONE) for each in facts}) for name in names}
    return [f"{name} is {_shown(seen)}" for name, seen in values.items() if len(seen) > 1]


def summary(records: Iterable[Record]) -> dict[str, list[str]]:
    """Return every fact with all values that the records have, for people: stacks differ among themselves."""
    found: dict[str, set[str]] = {}
    for record in records:
        for name, fact in fingerprint(record).items():
            found.setdefault(name, set()).add(fact)
    order = sorted(found, key=lambda name: (FACTS.index(name.partition(".")[0]), name))
    return {name: sorted(found[name] - {NONE}) for name in order if found[name] != {NONE}}


def _is_local(record: Record) -> bool:
    """Return whether the server ran in this environment, so that its packages are those of this machine."""
    return record.get("launcher") == "process"


def _matters(package: str, record: Record) -> bool:
    if not _is_local(record):
        return package == _ALWAYS[0]
    case: Mapping[str, Any] = record.get("case") or {}
    if package in _ALWAYS:
        return True
    stack, model_format = _OF_STACK.get(str(case.get("stack"))), _OF_FORMAT.get(str(case.get("format")))
    if stack is None or model_format is None:  # of another's stack nothing is known
        return package not in _OF_NO_SERVER
    return package in (*stack, *model_format)


def _options(record: Record) -> str:
    served: Mapping[str, Any] = record.get("served") or {}
    told: Mapping[str, Any] = served.get("options") or {}
    return ", ".join(f"{name} {told[name]}" for name in sorted(told))


def _gpus(record: Record, machine: Mapping[str, Any]) -> str:
    """Return the kinds of GPU that were computed on; where none was seen at it, all that there are."""
    seen = (record.get("telemetry") or {}).get("gpu_name")
    kinds = [_COUNT.sub("", each) for each in seen.split(" and ")] if seen else machine.get("gpus") or ()
    return ", ".join(sorted(set(kinds)))


def _cores(record: Record, machine: Mapping[str, Any]) -> object:
    """Return how many cores the server had: those of its lane or container, else all that could be used."""
    container: Mapping[str, Any] = record.get("container") or {}
    cpu_set = container.get("cpu_set") or record.get("cpu_set")
    cores = _count(str(cpu_set)) if cpu_set else machine.get("cores_usable")
    return f"{cores}, limited to {container['cpus']:g}" if container.get("cpus") else cores


def _count(cpu_set: str) -> int | str:
    """Return how many cores ``0-3,8`` are."""
    ends = [part.partition("-") for part in cpu_set.split(",")]
    try:
        return sum(int(last or first) - int(first) + 1 for first, _, last in ends)
    except ValueError:
        return cpu_set


def _image(record: Record) -> str | None:
    """Return the image that was built here, by its name: its tag is made of what it was built from."""
    name = (record.get("container") or {}).get("image")
    if name is None:
        return None
    return str(name) if str(name).startswith(_OURS) else "the one that was named"


def _without_index(text: object) -> str | None:
    """Return a text without the numbers of GPUs: ``cuda:1`` is ``cuda``, ``cuda:0,2`` is ``cuda x2``."""
    return None if text is None else _GPUS.sub(_without_indexes, str(text))


def _without_indexes(found: re.Match[str]) -> str:
    count = found["indexes"].count(",") + 1
    return found["kind"] if count == 1 else f"{found['kind']} x{count}"


def _minor(python: object) -> str | None:
    """Return ``CPython 3.11`` of ``CPython 3.11.7``."""
    return None if python is None else ".".join(str(python).split(".")[:2])


def _shown(values: Sequence[str]) -> str:
    """Return values in words; of a hash no more than tells it from another."""
    return " or ".join(value[:12] if re.fullmatch("[0-9a-f]{64}", value) else value for value in values)
