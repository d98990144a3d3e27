"""Fails unless a saved run measured every stack in a container of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

STACKS = {"fastapi", "torchserve", "triton"}


def main(saved: Path) -> int:
    """Print which container served each stack; return 1 when one did not."""
    records = json.loads(saved.read_text(encoding="utf-8"))["servebench"]["records"]
    served = {
        (one["case"]["stack"], one["launcher"], (one.get("container") or {}).get("id")) for one in records
    }
    for stack, launcher, container in sorted(served, key=str):
        print(f"{stack}: launcher {launcher}, container {container}")
    in_containers = {stack for stack, launcher, container in served if launcher == "docker" and container}
    alone = len({container for _, _, container in served}) == len(served) == len(STACKS)
    return int(in_containers != STACKS or not alone)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
