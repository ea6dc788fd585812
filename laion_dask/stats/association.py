"""Association of two sets of embeddings with two others: the test behind WEAT, SEAT and iEAT."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from laion_dask.display.overview import Displayed
from laion_dask.errors import ModelMismatchError, OptionError, one_of
from laion_dask.stats.checks import check_integer

#: Maximum number of partitions to enumerate; if there are more, this many are drawn at random.
MAX_PARTITIONS = 10_000
ALTERNATIVES = ("greater", "less", "two-sided")
#: Number of values shuffled at a time.
_BLOCK = 1 << 21


@dataclass(frozen=True)
class Association(Displayed):
    """Result of `association`.

    Attributes
    ----------
    d : float
        Effect size. Positive if X is closer to A and Y is closer to B.
    difference : float
        Difference of the means, which d divides by the standard deviation; within ± 4.
    p : float
        In (0, 1].
    n_x, n_y, n_a, n_b : int
        Number of vectors in each set.
    partitions : int
        Number of partitions of the union of X and Y that were enumerated or drawn.
    exact : bool
        Whether all partitions were enumerated.
    alternative : str
    """

    d: float
    difference: float
    p: float
    n_x: int
    n_y: int
    n_a: int
    n_b: int
    partitions: int
    exact: bool
    alternative: str


def weat(
    X: npt.ArrayLike,
    Y: npt.ArrayLike,
    A: npt.ArrayLike,
    B: npt.ArrayLike,
    *,
    alternative: str = "greater",
    n_permutations: int = MAX_PARTITIONS,
    seed: int = 0,
) -> tuple[float, float]:
    """Effect size and permutation p-value of the association of X with A and of Y with B.

    With s(w) = mean over a of cos(w, a) - mean over b of cos(w, b),

        d = (mean of s over X - mean of s over Y) / (standard deviation of s over X and Y, ddof 1)

    and p is the share of partitions of the union of X and Y, into sets of the same sizes, whose
    difference of means is at least the observed one; for sets of equal size this is the published
    statistic. It is exact if there are at most ``n_permutations`` partitions. Otherwise that many
    are drawn, and p = (1 + hits) / (1 + drawn), which is never 0 (Phipson and Smyth 2010).

    Parameters
    ----------
    X, Y : (n, dim) arrays
        The targets, such as flowers and insects. Vectors of any nonzero length, which are
        normalized. A vector (dim,) is a set of one. Torch tensors are accepted.
    A, B : (n, dim) arrays
        The attributes, such as pleasant and unpleasant words. All four sets may differ in n.
    alternative : {"greater", "less", "two-sided"}
        The differences that count as extreme: at least as large as the observed one (as published),
        at most as large, or at least as far from zero.
    n_permutations : int
        At least 1.
    seed : int
        Seed for drawing partitions. The same vectors give the same p, regardless of their order
        within the sets.

    Returns
    -------
    d : float
        Between ± sqrt(N (N - 1) / (n_x n_y)), N = n_x + n_y; for sets of equal size n this is
        ± 2 sqrt((2 n - 1) / (2 n)). 0 if the means differ by no more than rounding, such as for
        X = Y, or if all s are equal, such as for A = B.
    p : float
        In (0, 1]. 1 if all s are equal, because every partition is then equally extreme.

    Raises
    ------
    OptionError
        If a set is empty, contains a non-finite number or a vector of length zero, if widths
        differ, or if an option is invalid.
    ModelMismatchError
        If `Vectors` of different CLIP models are passed.

    References
    ----------
    Caliskan, A., Bryson, J. J. and Narayanan, A. (2017). Semantics derived automatically from
    language corpora contain human-like biases. Science 356, 183-186, and its supplement: the
    statistic, d and p. May, C. et al. (2019). On measuring social biases in sentence encoders.
    NAACL-HLT: SEAT, the same test for sentences. Steed, R. and Caliskan, A. (2021). Image
    representations learned with unsupervised pre-training contain human-like biases. FAccT: iEAT,
    the same test for images. Phipson, B. and Smyth, G. K. (2010). Permutation p-values should never
    be zero. Statistical Applications in Genetics and Molecular Biology 9(1), 39.

    Examples
    --------
    >>> from laion_dask import stats
    >>> d, p = stats.weat([[1, 0], [1, 0]], [[0, 1], [0, 1]], [[1, 0]], [[0, 1]])
    >>> round(d, 3), round(p, 3)
    (1.732, 0.167)
    """
    result = association(
        X, Y, A, B, alternative=alternative, n_permutations=n_permutations, seed=seed
    )
    return result.d, result.p


def association(
    X: npt.ArrayLike,
    Y: npt.ArrayLike,
    A: npt.ArrayLike,
    B: npt.ArrayLike,
    *,
    alternative: str = "greater",
    n_permutations: int = MAX_PARTITIONS,
    seed: int = 0,
) -> Association:
    """The full result of `weat`. Takes the same arguments and raises the same errors."""
    if alternative not in ALTERNATIVES:
        raise one_of("alternative", alternative, ALTERNATIVES)
    check_integer("n_permutations", n_permutations, 1)
    check_integer("seed", seed, 0)
    sets = dict(zip("XYAB", (X, Y, A, B), strict=True))
    _check_models(sets)
    x, y, a, b = units = [_units(name, vectors) for name, vectors in sets.items()]
    if len({len(rows[0]) for rows in units}) > 1:
        widths = ", ".join(f"{n} {len(rows[0])}" for n, rows in zip(sets, units, strict=True))
        raise OptionError(
            f"The sets have vectors of different widths: {widths}. Make all four with one model."
        )
    axis = _mean(a) - _mean(b)
    # The error of a cosine with a unit vector: rounding of both vectors and of the dot product.
    slack = np.finfo(float).eps * (4 + (len(axis) + 4) * float(np.linalg.norm(axis)))
    s_x, s_y = ((rows * axis).sum(axis=1) for rows in (x, y))
    sizes = {"n_x": len(x), "n_y": len(y), "n_a": len(a), "n_b": len(b)}
    test = _Test(s_x, s_y, slack, alternative)
    exact = math.comb(len(x) + len(y), len(x)) <= n_permutations
    hits, tried = test.exact() if exact else test.drawn(n_permutations, seed)
    p = hits / tried if exact else (1 + hits) / (1 + tried)
    return Association(
        test.d, test.difference, p, **sizes, partitions=tried, exact=exact, alternative=alternative
    )


class _Test:
    """Permutation test of the difference of two means, tolerant of rounding."""

    def __init__(self, s_x: np.ndarray, s_y: np.ndarray, slack: float, alternative: str) -> None:
        both = np.concatenate([s_x, s_y])
        # Sorted and centered, so that the draws do not depend on the order within the sets.
        self._values = np.sort(both - math.fsum(both) / len(both))
        difference = math.fsum(s_x) / len(s_x) - math.fsum(s_y) / len(s_y)
        self._slack = 4 * slack + len(both) * np.finfo(float).eps * float(abs(self._values).max())
        flat = self._values[-1] - self._values[0] <= 2 * self._slack
        self.difference = 0.0 if flat or abs(difference) <= self._slack else difference
        std = math.sqrt(math.fsum(np.square(self._values)) / (len(both) - 1))
        self.d = 0.0 if flat else self.difference / std
        self._few = min(len(s_x), len(s_y))
        # The difference of the means from the sum over the smaller set; all values sum to zero.
        sign = 1 if len(s_x) <= len(s_y) else -1
        self._scale = sign * (1 / len(s_x) + 1 / len(s_y))
        self._alternative = alternative

    def exact(self) -> tuple[int, int]:
        """Number of partitions at least as extreme as the observed one, and of all partitions."""
        every, hits, n = combinations(range(len(self._values)), self._few), 0, 0
        step = max(1, _BLOCK // self._few)
        while positions := list(islice(every, step)):
            hits += self._hits(self._values[np.array(positions)].sum(axis=1))
            n += len(positions)
        return hits, n

    def drawn(self, n: int, seed: int) -> tuple[int, int]:
        """Number of random partitions at least as extreme as the observed one, and of all drawn."""
        draw, hits = np.random.default_rng(seed), 0
        step = max(1, _BLOCK // len(self._values))
        for at in range(0, n, step):
            rows = np.tile(self._values, (min(step, n - at), 1))
            hits += self._hits(draw.permuted(rows, axis=1)[:, : self._few].sum(axis=1))
        return hits, n

    def _hits(self, sums: np.ndarray) -> int:
        differences, observed = sums * self._scale, self.difference
        if self._alternative == "two-sided":
            differences, observed = abs(differences), abs(observed)
        elif self._alternative == "less":
            differences, observed = -differences, -observed
        return int((differences >= observed - self._slack).sum())


def _mean(rows: np.ndarray) -> np.ndarray:
    """Mean of the rows, (dim,), independent of their order."""
    return np.array([math.fsum(column) for column in rows.T]) / len(rows)


def _check_models(sets: Mapping[str, npt.ArrayLike]) -> None:
    """Raise if vectors are known to come from different models."""
    models = [(n, m) for n, vectors in sets.items() if (m := getattr(vectors, "model", None))]
    for name, model in models[1:]:
        first, other = models[0]
        if hasattr(other, "same_space") and not other.same_space(model):
            raise ModelMismatchError(
                f"{first} holds vectors of {other.name}, {name} of {model.name}. Their cosines "
                "are meaningless; compute all four sets with one model."
            )


def as_rows(name: str, vectors: npt.ArrayLike) -> np.ndarray:
    """A set of vectors as (n, dim) float64.

    Raises
    ------
    OptionError
        If the argument cannot be converted.
    """
    expected = "Expected an array of shape (n, dim), such as ClipModel(...).text([...]) gives."
    try:
        rows = np.array(_plain(vectors), dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # for example, rows of different lengths
        raise OptionError(f"{name} is not an array of numbers ({error}). {expected}") from error
    rows = rows[None] if rows.ndim == 1 and rows.size else rows
    if not rows.size:
        raise OptionError(f"{name} is empty, of shape {rows.shape}. {expected}")
    if rows.ndim != 2:
        raise OptionError(f"{name} has the shape {rows.shape}. {expected}")
    return rows


def _units(name: str, vectors: npt.ArrayLike) -> np.ndarray:
    """A set of vectors, normalized, (n, dim) float64."""
    rows = as_rows(name, vectors)
    largest = abs(rows).max(axis=1, keepdims=True)
    lost = np.flatnonzero(~(np.isfinite(largest) & (largest > 0)))
    if len(lost):
        raise OptionError(
            f"Vector {lost[0]} of {name} is NaN, infinite or of length zero, so it has no "
            "direction. Remove such vectors."
        )
    rows = rows / largest  # so that squares neither overflow nor underflow
    units: np.ndarray = rows / np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    return units


def _plain(vectors: Any) -> Any:
    """Convert tensors to NumPy arrays and columns of vectors to lists."""
    if hasattr(vectors, "detach"):
        return vectors.detach().cpu().double().numpy()
    if isinstance(vectors, (str, bytes, dict, set)):
        raise TypeError(f"it is a {type(vectors).__name__}")
    if isinstance(vectors, (list, tuple)):
        return [_plain(each) if hasattr(each, "detach") else each for each in vectors]
    if getattr(getattr(vectors, "dtype", None), "kind", None) == "O" and vectors.ndim == 1:
        return list(vectors)  # a column of vectors
    if np.iscomplexobj(vectors):
        raise TypeError("it is complex")
    return vectors
