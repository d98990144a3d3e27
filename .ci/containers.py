"""Fails unless a saved run measured every stack, rightly, in containers of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

STACKS = {"fastapi", "torchserve", "triton"}
FORMATS = {"onnx", "pytorch"}
BENCHMARKS = {"test_throughput"}
WRONG = {"errors", "wrong_backend", "wrong_output"}
"""What no slow machine is an excuse for."""


def main(saved: Path) -> int:
    """Print which container served each stack, and what is wrong; return 1 when something is."""
    records = json.loads(saved.read_text(encoding="utf-8"))["servebench"]["records"]
    problems = list(wrong(records))
    print(*problems, sep="\n", end="\n" if problems else "")
    return int(not apart(records) or bool(problems))


def wrong(records: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Say which records are wrong, and which are missing."""
    for one in records:
        if one["validity"] in WRONG:
            yield f"{one['test']} is {one['validity']}: {one['reason']}"
    measured = {(one["case"]["stack"], one["case"]["format"], one["benchmark"]) for one in records}
    for missing in sorted(set(product(STACKS, FORMATS, BENCHMARKS)) - measured):
        yield f"not measured: {' '.join(missing)}"


def apart(records: Sequence[dict[str, Any]]) -> bool:
    """Print which containers served each stack (some one for each format); return whether none served two."""
    served = {
        (one["case"]["stack"], one["launcher"], (one.get("container") or {}).get("id")) for one in records
    }
    for stack, launcher, container in sorted(served, key=str):
        print(f"{stack}: launcher {launcher}, container {container}")
    in_containers = {stack for stack, launcher, container in served if launcher == "docker" and container}
    alone = len({container for _, _, container in served}) == len(served)
    return in_containers == STACKS and alone


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
