"""The names of the 1,000 ImageNet classes, in order of class id.

The first synonym of each class as ImageNet lists them, as torchvision has them: all different.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

LABELS_PATH = Path(__file__).with_name("imagenet_classes.json")


@cache
def imagenet_labels() -> tuple[str, ...]:
    """Return the 1,000 names; ``imagenet_labels()[285]`` is ``Egyptian cat``."""
    return tuple(json.loads(LABELS_PATH.read_text(encoding="utf-8")))
