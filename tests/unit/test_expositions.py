"""The metrics pages that dashboards are checked against: readable, documented, without a fault of ours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.doc_blocks import ROOT
from tests.engine import REQUIRED
from tests.expositions.known_complaints import known_complaints
from tests.prometheus import complaints, installed

PAGES = {path.stem: path for path in (ROOT / "tests" / "expositions").glob("*.txt")}

each_page = pytest.mark.parametrize("page", sorted(PAGES.values()), ids=lambda path: str(path.stem))


def family_names(page: Path) -> set[str]:
    """Return the names of a page's metrics, without what a client library adds."""
    families = text_string_to_metric_families(page.read_text(encoding="utf-8"))
    names = {f"{f.name}_total" if f.type == "counter" else f.name for f in families}
    return {name for name in names if not name.endswith("_created")}


@each_page
def test_promtool_finds_nothing_that_is_ours(page: Path) -> None:
    """A page breaks conventions only by names that its server's makers gave."""
    installed("promtool")
    stack = page.stem.partition("_")[0]
    assert complaints(page.read_text(encoding="utf-8")) <= known_complaints(stack)


def test_promtools_complaints_are_seen() -> None:
    """A page with a fault is complained about, and one that is no page at all fails."""
    installed("promtool")
    assert complaints("# HELP asked x\n# TYPE asked counter\nasked 1\n") == {
        'asked counter metrics should have "_total" suffix'
    }
    with pytest.raises(AssertionError, match="promtool cannot read it"):
        complaints("asked of whom\n")


@each_page
def test_every_metric_is_documented(page: Path) -> None:
    """docs/metrics.md has each metric by its name."""
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"[A-Za-z_]\w+", text))
    wanted = {name for name in family_names(page) if not name.startswith("process_")}
    assert {name for name in wanted if not {name, name.removesuffix("_total")} & documented} == set()


def test_no_host_is_named() -> None:
    """Pages that were taken from real servers name no machine."""
    for page in PAGES.values():
        hosts = re.findall(r'[Hh]ostname="([^"]*)"', page.read_text(encoding="utf-8"))
        assert set(hosts) <= {"host"}


def test_a_missing_program_skips_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where CI says that it must be there a missing program is a failure, elsewhere a named skip."""
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="not installed: no-such-promtool"):
        installed("no-such-promtool")
    monkeypatch.delenv(REQUIRED)
    with pytest.raises(pytest.skip.Exception, match="not installed: no-such-promtool"):
        installed("no-such-promtool")
    installed("sh")
