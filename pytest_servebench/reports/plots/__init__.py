"""The plots of ``report.html``: records in, Vega-Lite specifications out (pure)."""
