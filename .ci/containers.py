"""Fails unless a saved run measured every stack in containers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

STACKS = {"fastapi", "torchserve", "triton"}


def main(saved: Path) -> int:
    """Print which container served what; return 1 when a case had none, or a stack no case."""
    records = json.loads(saved.read_text(encoding="utf-8"))["servebench"]["records"]
    alone = [one["case"]["id"] for one in records if one["launcher"] != "docker" or not one["container"]]
    served = {(one["case"]["stack"], one["container"]["id"]) for one in records if one["container"]}
    for stack, container in sorted(served):
        print(f"{stack}: container {container[:12]}")
    for case in alone:
        print(f"not in a container: {case}")
    return int(bool(alone) or {stack for stack, _ in served} != STACKS)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
