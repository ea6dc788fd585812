"""How many examples a property test draws: ten times as many in ``make fuzz``."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def examples(n: int):
    """A decorator for ``n`` examples in ``make test``; the profile decides how they are drawn."""
    return settings(
        max_examples=n * settings.default.max_examples // 100,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
