"""What all tests share: how Hypothesis runs here."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A shared machine may stall for longer than any limit on the time of an example, or of making one.
settings.register_profile(
    "shared machine", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared machine")
