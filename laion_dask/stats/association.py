"""Association of two sets of embeddings with two others: WEAT, SEAT and iEAT are this test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np

from laion_dask.errors import ModelMismatchError, OptionError, one_of
from laion_dask.stats.checks import whole

#: Up to this many partitions are enumerated; of more, this many are drawn.
MOST_PARTITIONS = 10_000
ALTERNATIVES = ("greater", "less", "two-sided")
#: Numbers that are shuffled at a time.
_BLOCK = 1 << 21


@dataclass(frozen=True)
class Association:
    """What `association` finds.

    Attributes
    ----------
    d : float
        Effect size. Positive where X is nearer to A, and Y to B.
    difference : float
        Of the means, which d divides by the standard deviation: in cosines, within ± 4.
    p : float
        In (0, 1].
    n_x, n_y, n_a, n_b : int
        Vectors of each set.
    partitions : int
        Of X and Y together into sets of their sizes: enumerated, or drawn.
    exact : bool
        Whether they are all there are.
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
    X,
    Y,
    A,
    B,
    *,
    alternative: str = "greater",
    n_permutations: int = MOST_PARTITIONS,
    seed: int = 0,
) -> tuple[float, float]:
    """Effect size and permutation p of the association of X with A, and of Y with B.

    With s(w) = mean over a of cos(w, a) - mean over b of cos(w, b),

        d = (mean of s over X - mean of s over Y) / (standard deviation of s over X and Y, ddof 1)

    and p is the share of the partitions of X and Y together, into sets of their sizes, whose
    difference of means is at least the one found; for sets of one size that is the published sum.
    It is exact where there are at most ``n_permutations`` partitions; else so many are drawn, and
    p = (1 + hits) / (1 + drawn), so that it is never 0 (Phipson and Smyth 2010).

    Parameters
    ----------
    X, Y : (n, dim) arrays
        The targets, such as flowers and insects: numbers of any length but zero, which are brought
        to length one. A vector (dim,) is a set of one. Torch tensors too.
    A, B : (n, dim) arrays
        The attributes, such as pleasant and unpleasant words. All four may differ in n.
    alternative : {"greater", "less", "two-sided"}
        Differences that count against chance: those as large or larger (as published), as small or
        smaller, or as far from zero or farther.
    n_permutations : int
        From 1 on.
    seed : int
        Of the partitions that are drawn. The same vectors give the same p, in whatever order they
        stand in their sets.

    Returns
    -------
    d : float
        Between ± sqrt(N (N - 1) / (n_x n_y)), N = n_x + n_y; for sets of one size n that is
        ± 2 sqrt((2 n - 1) / (2 n)). 0 where the means do not differ by more than rounding, so for
        X = Y, and where all s are equal, so for A = B.
    p : float
        In (0, 1]. 1 where all s are equal, since then every partition is as extreme.

    Raises
    ------
    OptionError
        When a set is empty, holds what is no finite number or a vector of length zero, when widths
        differ, or an option has a value that it does not take.
    ModelMismatchError
        When `Vectors` of different CLIP models are given.

    References
    ----------
    Caliskan, A., Bryson, J. J. and Narayanan, A. (2017). Semantics derived automatically from
    language corpora contain human-like biases. Science 356, 183-186, and its supplement: the
    statistic, d and p. May, C. et al. (2019). On measuring social biases in sentence encoders.
    NAACL-HLT: SEAT, the same of sentences. Steed, R. and Caliskan, A. (2021). Image
    representations learned with unsupervised pre-training contain human-like biases. FAccT: iEAT,
    the same of images. Phipson, B. and Smyth, G. K. (2010). Permutation p-values should never be
    zero. Statistical Applications in Genetics and Molecular Biology 9(1), 39.

    Examples
    --------
    >>> from laion_dask import stats
    >>> d, p = stats.weat([[1, 0], [1, 0]], [[0, 1], [0, 1]], [[1, 0]], [[0, 1]])
    >>> round(d, 3), round(p, 3)
    (1.732, 0.167)
    """
    found = association(
        X, Y, A, B, alternative=alternative, n_permutations=n_permutations, seed=seed
    )
    return found.d, found.p


def association(
    X,
    Y,
    A,
    B,
    *,
    alternative: str = "greater",
    n_permutations: int = MOST_PARTITIONS,
    seed: int = 0,
) -> Association:
    """The result of `weat` with its details. Takes and raises the same as `weat`."""
    if alternative not in ALTERNATIVES:
        raise one_of("alternative", alternative, ALTERNATIVES)
    whole("n_permutations", n_permutations, 1)
    whole("seed", seed, 0)
    sets = dict(zip("XYAB", (X, Y, A, B), strict=True))
    _check_models(sets)
    x, y, a, b = units = [_units(name, given) for name, given in sets.items()]
    if len({len(rows[0]) for rows in units}) > 1:
        widths = ", ".join(f"{n} {len(rows[0])}" for n, rows in zip(sets, units, strict=True))
        raise OptionError(
            f"The sets have vectors of different widths: {widths}. Make all four with one model."
        )
    axis = _mean(a) - _mean(b)
    # A cosine with a unit vector is off by the rounding of both, and of the sum of products.
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
    """The permutation test of the difference of two means, rounding aside."""

    def __init__(self, s_x: np.ndarray, s_y: np.ndarray, slack: float, alternative: str) -> None:
        both = np.concatenate([s_x, s_y])
        # In order, and around zero: what is drawn does not depend on the order within the sets.
        self._values = np.sort(both - math.fsum(both) / len(both))
        difference = math.fsum(s_x) / len(s_x) - math.fsum(s_y) / len(s_y)
        self._slack = 4 * slack + len(both) * np.finfo(float).eps * float(abs(self._values).max())
        flat = self._values[-1] - self._values[0] <= 2 * self._slack
        self.difference = 0.0 if flat or abs(difference) <= self._slack else difference
        std = math.sqrt(math.fsum(np.square(self._values)) / (len(both) - 1))
        self.d = 0.0 if flat else self.difference / std
        self._few = min(len(s_x), len(s_y))
        # The difference of the means, from the sum over the smaller set; all sum up to zero.
        sign = 1 if len(s_x) <= len(s_y) else -1
        self._scale = sign * (1 / len(s_x) + 1 / len(s_y))
        self._alternative = alternative

    def exact(self) -> tuple[int, int]:
        """The number of partitions at least as extreme, and of all partitions."""
        every, hits, n = combinations(range(len(self._values)), self._few), 0, 0
        step = max(1, _BLOCK // self._few)
        while some := list(islice(every, step)):
            hits += self._hits(self._values[np.array(some)].sum(axis=1))
            n += len(some)
        return hits, n

    def drawn(self, n: int, seed: int) -> tuple[int, int]:
        """The number of random partitions at least as extreme, and the number drawn."""
        draw, hits = np.random.default_rng(seed), 0
        step = max(1, _BLOCK // len(self._values))
        for at in range(0, n, step):
            rows = np.tile(self._values, (min(step, n - at), 1))
            hits += self._hits(draw.permuted(rows, axis=1)[:, : self._few].sum(axis=1))
        return hits, n

    def _hits(self, sums: np.ndarray) -> int:
        found, mine = sums * self._scale, self.difference
        if self._alternative == "two-sided":
            found, mine = abs(found), abs(mine)
        elif self._alternative == "less":
            found, mine = -found, -mine
        return int((found >= mine - self._slack).sum())


def _mean(rows: np.ndarray) -> np.ndarray:
    """The mean of rows, (dim,), independent of their order."""
    return np.array([math.fsum(column) for column in rows.T]) / len(rows)


def _check_models(sets: dict) -> None:
    """Raise if vectors are known to come from different models."""
    known = [(n, m) for n, given in sets.items() if (m := getattr(given, "model", None))]
    for name, model in known[1:]:
        first, other = known[0]
        if hasattr(other, "same_space") and not other.same_space(model):
            raise ModelMismatchError(
                f"{first} holds vectors of {other.name}, {name} of {model.name}. Their cosines "
                "mean nothing; make all four sets with one model."
            )


def as_rows(name: str, given) -> np.ndarray:
    """A set of vectors as (n, dim) float64.

    Raises
    ------
    OptionError
        When it is none.
    """
    expected = "Expected an array of shape (n, dim), such as ClipModel(...).text([...]) gives."
    try:
        rows = np.array(_plain(given), dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # such as rows of different lengths
        raise OptionError(f"{name} is no array of numbers ({error}). {expected}") from error
    rows = rows[None] if rows.ndim == 1 and rows.size else rows
    if not rows.size:
        raise OptionError(f"{name} is empty, of shape {rows.shape}. {expected}")
    if rows.ndim != 2:
        raise OptionError(f"{name} has the shape {rows.shape}. {expected}")
    return rows


def _units(name: str, given) -> np.ndarray:
    """A set of vectors at length one, (n, dim) float64."""
    rows = as_rows(name, given)
    largest = abs(rows).max(axis=1, keepdims=True)
    lost = np.flatnonzero(~(np.isfinite(largest) & (largest > 0)))
    if len(lost):
        raise OptionError(
            f"Vector {lost[0]} of {name} is NaN, infinite or of length zero, so it has no "
            "direction. Leave such vectors out."
        )
    rows = rows / largest  # so that no square overflows, or vanishes
    return rows / np.sqrt(np.square(rows).sum(axis=1, keepdims=True))


def _plain(given):
    """Tensors on the CPU in a dtype that NumPy has, and columns of vectors as lists of them."""
    if hasattr(given, "detach"):
        return given.detach().cpu().double().numpy()
    if isinstance(given, (str, bytes, dict, set)):
        raise TypeError(f"it is a {type(given).__name__}")
    if isinstance(given, (list, tuple)):
        return [_plain(each) if hasattr(each, "detach") else each for each in given]
    if getattr(getattr(given, "dtype", None), "kind", None) == "O" and given.ndim == 1:
        return list(given)  # a column of vectors
    if np.iscomplexobj(given):
        raise TypeError("it is complex")
    return given
