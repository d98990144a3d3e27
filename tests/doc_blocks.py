"""The fenced blocks of the documentation, and what the words after their language ask for.

```console run              each line after "$ " is run; it must end well, and print the other lines
```console run exit=1       ... must end with that exit code
```console walk             ... is run in an empty folder after all that the page shows before, nothing added
```console walk exit=1      ... must end with that exit code, and print lines of the shape that is shown
```console plan             ... is only collected, since it would take minutes: it must plan cases
```console plan docker      ... where a Docker engine answers
```console plan gpu         ... as on a machine with two GPUs
```console cuda             each line's options are planned on a made-up machine with GPUs and Docker
```console servebench       each line after "$ " is read by the command servebench: its options are right
```console k6               ... is run by k6 against a server of the test's own, with short stages
```LANGUAGE file=NAME       is put into the folder in which the page's commands run
```python excerpt=PATH      stands in that file, relative to docs/
```toml thresholds          is a thresholds file
```toml pyproject           is a pyproject.toml with [tool.servebench]
```yaml workflow            is a GitHub workflow; its commands are run on the page, or are CI's own
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    page: Path
    line: int
    language: str
    words: tuple[str, ...]
    body: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def given(self, key: str) -> str:
        """Return VALUE of the word ``key=VALUE``; empty when there is none."""
        return next((word.partition("=")[2] for word in self.words if word.startswith(f"{key}=")), "")

    @property
    def commands(self) -> tuple[str, ...]:
        """The lines after ``$ ``."""
        return tuple(line[2:] for line in self.body.splitlines() if line.startswith("$ "))

    @property
    def output(self) -> tuple[str, ...]:
        """The lines that the commands must print."""
        return tuple(line for line in self.body.splitlines() if not line.startswith("$ ") and line.strip())


def blocks_of(page: Path) -> tuple[Block, ...]:
    """Return a page's blocks in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        language, *words = match["info"].split() or [""]
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, language, tuple(words), match["body"]))
    return tuple(found)


def all_blocks() -> tuple[Block, ...]:
    """Return the blocks of every page."""
    return tuple(block for page in PAGES for block in blocks_of(page))
