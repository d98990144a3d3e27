"""The plots of ``report.html``: records in, Vega-Lite specifications out (pure)."""

from __future__ import annotations

from pytest_servebench.reports.plots.all_plots import plots_of

__all__ = ["plots_of"]
