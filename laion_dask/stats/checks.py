"""Validation of counts and numbers: scalars or arrays, which broadcast."""

from __future__ import annotations

from collections.abc import Mapping, ValuesView
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from laion_dask.errors import OptionError

#: A number, or an array of them.
Numbers = npt.ArrayLike


def numbers(what: str, **values: Numbers) -> tuple[np.ndarray, ...]:
    """Numbers as float64 arrays of one shape; raises naming the argument that is not one."""
    found = []
    for name, value in values.items():
        try:
            found.append(np.asarray(value, np.float64))
        except (TypeError, ValueError) as error:
            raise OptionError(f"{what} was given {name}={value!r}; expected numbers.") from error
    try:
        return tuple(np.broadcast_arrays(*found))
    except ValueError as error:
        shapes = ", ".join(f"{name} {np.shape(value)}" for name, value in values.items())
        raise OptionError(
            f"{what} was given arrays that do not go together, of shape {shapes}."
        ) from error


def counts(what: str, **values: Numbers) -> tuple[np.ndarray, ...]:
    """Counts as float64 arrays of one shape.

    Raises
    ------
    OptionError
        When one is negative, infinite or no number.
    """
    values = {name: _listed(value) for name, value in values.items()}
    found = numbers(what, **values)
    for name, value in zip(values, found, strict=True):
        if not ((value >= 0) & np.isfinite(value)).all():
            raise OptionError(f"{what} was given {name}={values[name]!r}; expected counts, from 0.")
    return found


def _listed(value):
    """The counts of a mapping of labels to counts, or of its values."""
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, ValuesView) else value


def shares(what: str, k: Numbers, n: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """``k`` of ``n`` as float64 arrays of one shape.

    Raises
    ------
    OptionError
        When k is not between 0 and n.
    """
    some, all_of = numbers(what, k=k, n=n)
    if not ((some >= 0) & (some <= all_of) & np.isfinite(all_of)).all():
        raise OptionError(f"{what} was given k={k}, n={n}; expected 0 <= k <= n.")
    return some, all_of


def plain(*results: np.ndarray) -> tuple:
    """Arrays unchanged, and 0-dimensional ones as Python numbers."""
    return tuple(r.item() if np.ndim(r) == 0 else np.asarray(r) for r in results)


def z_of(level: float, what: str) -> float:
    if isinstance(level, bool) or not isinstance(level, (int, float, np.number)):
        raise OptionError(f"{what} was given level={level!r}; expected 0 < level < 1.")
    if not 0 < level < 1:
        raise OptionError(f"{what} was given level={level}; expected 0 < level < 1.")
    return NormalDist().inv_cdf(0.5 + float(level) / 2)


def whole(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise OptionError(f"{name} is {value!r}. Expected a whole number, from {least}.")


def probability(name: str, value: float) -> float:
    """A number in [0, 1]; raises otherwise."""
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:
        raise OptionError(f"{name} is {value!r}. Expected a probability, in [0, 1].")
    return float(value)
