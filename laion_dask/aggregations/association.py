"""WEAT, SEAT and iEAT: the association of two sets of texts or images with two others."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from laion_dask.errors import OptionError, must_be
from laion_dask.models import ClipModel, EmbeddingSpace, as_model, check_same_space
from laion_dask.stats import association as tests
from laion_dask.stats.table import Table, table

_LETTERS = ("X", "Y", "A", "B")
#: Name of the test for each kind of target.
_TEST = {"texts": "WEAT", "images": "iEAT", "vectors": "WEAT"}


def association(
    model: ClipModel | str,
    x,
    y,
    a,
    b,
    *,
    names: Sequence[str] = _LETTERS,
    templates: Sequence[str] | str | None = None,
    alternative: str = "greater",
    n_permutations: int = tests.MAX_PARTITIONS,
    seed: int = 0,
) -> Table:
    """Association of x with a and of y with b in the embedding space of a CLIP model. Eager.

    For texts this is the word embedding association test (Caliskan et al. 2017), for sentences the
    sentence encoder association test (SEAT, May et al. 2019), for images the image embedding
    association test (iEAT, Steed and Caliskan 2021). All use the same formula, that of
    `laion_dask.stats.weat`. The result is a property of the model and of these examples; it says
    nothing about any person.

    d has no unit: a difference of a thousandth of a cosine can have the same d as one of a half, so
    ``difference`` is reported too. p assumes that all targets are independent. Many images of one
    object are not; pass the mean vector of each object instead.

    Parameters
    ----------
    model : ClipModel or str
        Its weights are needed if texts or images are given.
    x, y : texts, images or vectors
        The targets: a list of str; a list of images (PIL, paths as ``Path``, bytes); or an array
        (n, dim), such as ``model.text(...)`` or rows of embeddings. Both must be of the same kind:
        CLIP separates texts from images (Liang et al. 2022, "Mind the Gap", NeurIPS), and this gap
        would look like an association.
    a, b : texts, images or vectors
        The attributes. Both must be of the same kind, which may differ from that of x and y.
    names : four of str
        Names of the sets in the table.
    templates : list of str, optional
        Sentences with one ``{}`` each, such as ``"This is {}."``. Every text is inserted into every
        template (SEAT).
    alternative : {"greater", "less", "two-sided"}
    n_permutations, seed : int
        As in `laion_dask.stats.weat`.

    Returns
    -------
    Table
        One row: ``term`` and ``group`` name the targets and the attributes; ``n`` is the number of
        targets; ``value`` is the effect size d, and ``difference`` its numerator, in cosines;
        ``p``, ``alternative``; ``n_x n_y n_a n_b``; ``model``; ``method`` names the test and how p
        was computed. Combine several tests with ``pandas.concat``, and adjust their p-values with
        `laion_dask.stats.benjamini_hochberg`.

    Raises
    ------
    OptionError
        If a set is empty or of mixed kinds, if the kinds of x and y or of a and b differ, if a
        template does not contain exactly one ``{}``, or if an option is invalid.
    ModelMismatchError
        If vectors are known to come from another model.
    WeightsError, ImageError
        If the model cannot be loaded, or an image cannot be read.

    Examples
    --------
    >>> import laion_dask as ld
    >>> found = ld.association("demo", **ld.stats.WEAT_TESTS["WEAT 7"])
    >>> found["term"][0]
    'math against arts'
    """
    space, names = as_model(model), _names(names)
    kinds = [_kind(name, value) for name, value in zip(names, (x, y, a, b), strict=True)]
    _check_pairs(names, kinds)
    sentences = _sentences(templates, kinds)
    sets = [
        _vectors(space, name, value, kind, sentences)
        for name, value, kind in zip(names, (x, y, a, b), kinds, strict=True)
    ]
    result = tests.association(
        *sets, alternative=alternative, n_permutations=n_permutations, seed=seed
    )
    row = {
        "statistic": "association",
        "term": f"{names[0]} against {names[1]}",
        "group": f"{names[2]} against {names[3]}",
        "n": result.n_x + result.n_y,
        "value": result.d,
        "difference": result.difference,
        "p": result.p,
        "alternative": alternative,
        **{f"n_{s}": getattr(result, f"n_{s}") for s in "xyab"},
        "model": space.name,
        "method": f"{_called(kinds, templates)}; {_method(result, seed)}",
    }
    return table([row])


def _names(value) -> tuple[str, ...]:
    words = (value,) if isinstance(value, str) else tuple(value)
    if len(words) != 4 or len(set(words)) < 4 or not all(isinstance(n, str) for n in words):
        raise OptionError(
            f"names is {value!r}. Expected four different words, for the sets x, y, a and b."
        )
    return words


def _kind(name: str, value) -> str:
    """``"texts"``, ``"images"`` or ``"vectors"``."""
    expected = "Expected a list of str, a list of images, or an array of vectors (n, dim)."
    if isinstance(value, (dict, set, frozenset)):  # these are not sequences of items
        raise OptionError(f"{name} is a {type(value).__name__}. {expected}")
    if getattr(getattr(value, "dtype", None), "kind", None) in ("f", "i", "u"):
        return "vectors"
    kinds = {_kind_of_one(each) for each in _items(value)}
    if not kinds:
        raise OptionError(f"{name} is empty. {expected}")
    kind = next(iter(kinds))
    if len(kinds) > 1 or kind is None:
        mixed = " and ".join(sorted(kind or "something else" for kind in kinds))
        raise OptionError(f"{name} holds {mixed}. {expected}")
    return kind


def _kind_of_one(item) -> str | None:
    if isinstance(item, str):
        return "texts"
    if hasattr(item, "convert") or isinstance(item, (os.PathLike, bytes, bytearray, memoryview)):
        return "images"
    numbers = isinstance(item, (int, float, np.number)) and not isinstance(item, bool)
    return "vectors" if numbers or isinstance(item, (list, tuple)) or _is_array(item) else None


def _is_array(item) -> bool:
    return isinstance(item, np.ndarray) or hasattr(item, "detach")


def _items(value) -> list:
    is_single = isinstance(value, (str, bytes, bytearray, memoryview, os.PathLike))
    if is_single or hasattr(value, "convert") or hasattr(value, "detach"):
        return [value]
    try:
        return list(value)
    except TypeError:
        return [value]


def _check_pairs(names: Sequence[str], kinds: Sequence[str]) -> None:
    for one, two in ((0, 1), (2, 3)):
        if kinds[one] != kinds[two] and "vectors" not in (kinds[one], kinds[two]):
            raise OptionError(
                f"{names[one]} holds {kinds[one]} and {names[two]} {kinds[two]}, which every CLIP "
                "model embeds in separate regions; their distance would look like an association. "
                "Give both as texts, or both as images."
            )


def _sentences(templates, kinds: Sequence[str]) -> tuple[str, ...]:
    if templates is None:
        return ("{}",)
    must_be("templates", templates, (str, list, tuple), 'a list of str, such as ["This is {}."]')
    templates = (templates,) if isinstance(templates, str) else tuple(templates)
    for template in templates:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise OptionError(f"The template {template!r} must contain exactly one {{}}.")
    if not templates or "texts" not in kinds:
        raise OptionError("Templates apply to texts. Expected a template and a set of texts.")
    return templates


def _vectors(
    model: ClipModel | EmbeddingSpace, name: str, value, kind: str, sentences: tuple[str, ...]
):
    if kind == "texts":
        texts = [s.replace("{}", text) for text in _items(value) for s in sentences]
        return model.text(texts)
    if kind == "images":
        return model.image(_items(value))
    for item in (value, *(value if isinstance(value, (list, tuple)) else ())):
        item_model = getattr(item, "model", None)
        if isinstance(item_model, (ClipModel, EmbeddingSpace, str)):
            check_same_space(model, item_model, f"The model and the vectors of {name}")
    rows = tests.as_rows(name, value)
    if rows.shape[1] != model.dim:
        raise OptionError(
            f"{name} has vectors of length {rows.shape[1]}, but {model.name} has {model.dim}. "
            "Embed them with that model, or name the model that made them."
        )
    return rows


def _called(kinds: Sequence[str], templates) -> str:
    targets, attributes = kinds[0], kinds[2]
    test = "SEAT" if templates is not None and targets == "texts" else _TEST[targets]
    pairing = targets if targets == attributes else f"{targets} by {attributes}"
    return f"{test} of {pairing}"


def _method(result: tests.Association, seed: int) -> str:
    if result.exact:
        return f"permutation test, all {result.partitions:,} partitions"
    return f"permutation test, {result.partitions:,} partitions drawn, seed {seed}"
