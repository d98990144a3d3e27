"""What the site makes of the repository's pages, which are written to be read as files; a hook of mkdocs.

- README is the first page, CHANGELOG a page, and a source file that a page links to is a page of its own.
- A link to a folder outside docs/ leads nowhere in a site, so its text stands alone.
- The words after a block's language say how it is tested (tests/doc_blocks.py); readers are spared them.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DOCS = Path(__file__).parent
ROOT = DOCS.parent
MOVED = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "deploy/README.md": "images.md"}
"""Pages outside docs/, by their path in the repository."""
LANGUAGES = {
    ".py": "python",
    ".c": "c",
    ".js": "javascript",
    ".toml": "toml",
    ".yml": "yaml",
    ".md": "markdown",
}

_MARKS = re.compile(r"^(?P<fence>```+\w+)[ \t]+[^\n`]+$", re.MULTILINE)
_LINK = re.compile(r"(?P<text>!?\[(?:[^\[\]]|\[[^\]]*\]\([^)]*\))*\])\((?P<target>[^)\s]+)\)")
_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README, CHANGELOG and the source files that pages link to."""
    written = {path: (ROOT / path).read_text(encoding="utf-8") for path in MOVED}
    written |= {f"docs/{path.name}": path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
    sources = {_source(path, target): None for path, text in written.items() for target in _targets(text)}
    pages = {moved: written[path] for path, moved in MOVED.items()}
    pages |= {_page_of(source): _shown(source) for source in sources if source}
    for uri, text in pages.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Return the page with links that lead to pages of the site, and blocks without marks."""
    uri = page.file.src_uri
    if uri.startswith("source/"):
        return markdown
    path = next((path for path, moved in MOVED.items() if moved == uri), f"docs/{uri}")
    parts = _FENCED.split(markdown)
    return "".join(
        _MARKS.sub(r"\g<fence>", part) if at % 2 else relinked(part, path) for at, part in enumerate(parts)
    )


def relinked(text: str, path: str) -> str:
    """Return ``text``, of the page at ``path`` of the repository, with the links of the site."""
    return _LINK.sub(lambda match: _relinked(match, path), text)


def _relinked(match: re.Match[str], path: str) -> str:
    target, _, heading = match["target"].partition("#")
    text = relinked(match["text"][:-1], path) + "]"
    if "://" in target or not target:
        return f"{text}({match['target']})"
    there = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if source := _source(path, target):
        there = _page_of(source)
    elif there in MOVED:
        there = MOVED[there]
    elif there.startswith("docs/") and (ROOT / there).is_file():
        there = there.removeprefix("docs/")
    else:
        return match["text"][1:-1]
    return f"{text}({there}{'#' * bool(heading)}{heading})"


def _targets(text: str) -> list[str]:
    return [match["target"].partition("#")[0] for match in _LINK.finditer(text)]


def _source(path: str, target: str) -> str:
    """Return what the page at ``path`` links to by ``target``, if that is a source file; else nothing."""
    there = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if "://" in target or not target or there in MOVED or not (ROOT / there).is_file():
        return ""
    is_source = not there.startswith("docs/") or there.startswith("docs/examples/") or there.endswith(".py")
    return there if is_source else ""


def _page_of(source: str) -> str:
    return f"source/{source}.md"


def _shown(source: str) -> str:
    """Return a page with a source file on it."""
    text = (ROOT / source).read_text(encoding="utf-8")
    fence = "`" * 5
    return f"# {source}\n\n{fence}{LANGUAGES.get(Path(source).suffix, 'text')}\n{text}\n{fence}\n"
