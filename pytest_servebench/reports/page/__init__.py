"""``report.html``: one file, which opens offline."""

from __future__ import annotations

from pytest_servebench.reports.page.document import page_html

__all__ = ["page_html"]
