"""Round values for the ticks of an axis."""

from __future__ import annotations

from math import ceil, floor, log10


def round_values(lo: float, hi: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between two values; about three to six."""
    min_step = (hi - lo) / 5
    power = 10.0 ** floor(log10(min_step))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= min_step)
    return [round(i * step, 12) for i in range(ceil(lo / step - 1e-9), floor(hi / step + 1e-9) + 1)]


def round_ratios(lo: float, hi: float) -> list[float]:
    """Round values on a logarithmic axis; at least three if the range allows."""
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        exponents = range(floor(log10(lo)), ceil(log10(hi)) + 1)
        values = [m * 10.0**e for e in exponents for m in steps]
        values = [value for value in values if lo <= value <= hi]
        if len(values) >= 3:
            return values
    return round_values(lo, hi)
