"""Validate the arguments of functions of counts: numbers or arrays, which are broadcast."""

from __future__ import annotations

from collections.abc import Mapping, ValuesView
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from laion_dask.errors import OptionError

#: A number, or an array of them.
Numbers = npt.ArrayLike
#: A float if all arguments are numbers, else an array of float64. As in NumPy's own annotations of
#: such functions, this is Any: a union would have to be narrowed at every use.
FloatOrArray: TypeAlias = Any


def numbers(caller: str, **values: Numbers) -> tuple[np.ndarray, ...]:
    """Convert to float64 arrays of one shape; the error names an argument that is not numeric."""
    arrays = []
    for name, value in values.items():
        try:
            arrays.append(np.asarray(value, np.float64))
        except (TypeError, ValueError) as error:
            raise OptionError(f"{caller} was given {name}={value!r}; expected numbers.") from error
    try:
        return tuple(np.broadcast_arrays(*arrays))
    except ValueError as error:
        shapes = ", ".join(f"{name} {np.shape(value)}" for name, value in values.items())
        raise OptionError(
            f"{caller} was given arrays that cannot be broadcast, of shape {shapes}."
        ) from error


def counts(caller: str, **values: Numbers) -> tuple[np.ndarray, ...]:
    """Counts as float64 arrays of one shape.

    Raises
    ------
    OptionError
        If a count is negative, infinite or not a number.
    """
    values = {name: _listed(value) for name, value in values.items()}
    arrays = numbers(caller, **values)
    for name, value in zip(values, arrays, strict=True):
        if not ((value >= 0) & np.isfinite(value)).all():
            raise OptionError(f"{caller} was given {name}={values[name]!r}; expected counts >= 0.")
    return arrays


def _listed(value: Numbers) -> Numbers:
    """The counts of a mapping from labels to counts, or of its values."""
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, ValuesView) else value


def shares(caller: str, k: Numbers, n: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """``k`` of ``n`` as float64 arrays of one shape.

    Raises
    ------
    OptionError
        If k is not between 0 and n.
    """
    part_counts, totals = numbers(caller, k=k, n=n)
    if not ((part_counts >= 0) & (part_counts <= totals) & np.isfinite(totals)).all():
        k_text, n_text = str(k), str(n)
        raise OptionError(f"{caller} was given k={k_text}, n={n_text}; expected 0 <= k <= n.")
    return part_counts, totals


def plain(*results: np.ndarray) -> tuple[FloatOrArray, ...]:
    """Convert zero-dimensional arrays to Python numbers; keep other arrays."""
    return tuple(r.item() if np.ndim(r) == 0 else np.asarray(r) for r in results)


def z_of(level: float, caller: str) -> float:
    if isinstance(level, bool) or not isinstance(level, (int, float, np.number)):
        raise OptionError(f"{caller} was given level={level!r}; expected 0 < level < 1.")
    if not 0 < level < 1:
        raise OptionError(f"{caller} was given level={level}; expected 0 < level < 1.")
    return NormalDist().inv_cdf(0.5 + float(level) / 2)


def check_integer(name: str, value: int, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
        raise OptionError(f"{name} is {value!r}. Expected an integer of at least {minimum}.")


def probability(name: str, value: float) -> float:
    """Validate a number in [0, 1]."""
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:
        raise OptionError(f"{name} is {value!r}. Expected a probability, in [0, 1].")
    return float(value)
