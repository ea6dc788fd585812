"""Embeddings as an array that keeps its model."""

from __future__ import annotations

from typing import Any

import numpy as np

from laion_dask.display.overview import Overview
from laion_dask.errors import ModelMismatchError

#: Results of these are not vectors of the space, whatever their shape.
_LEAVES_THE_SPACE = {np.matmul, np.isfinite, np.isnan, np.isinf, np.sign}


class Vectors(np.ndarray):
    """An ndarray of embeddings, (dim,) or (n, dim), with the model that made them.

    Slices, copies, pickles and arithmetic keep ``.model``, so a weighted sum of texts and images
    is still known to belong to that model. Arithmetic on vectors of two models raises, and results
    that are not vectors of the space (products of two sets, comparisons, sums over ``dim``) are
    plain arrays.

    Parameters
    ----------
    array : array_like
        (dim,) or (n, dim).
    model : ClipModel, optional
        The model that made them; ``None`` if unknown.
    text : str, optional
        The text of a single vector; any operation drops it.

    Raises
    ------
    ModelMismatchError
        From an operation on vectors of two different models.

    Examples
    --------
    >>> import laion_dask as ld
    >>> star, boat = ld.ClipModel("demo").text(["a red star", "a blue boat"])
    >>> (star - boat).model.name
    'demo'
    """

    model: Any  # a ClipModel or EmbeddingSpace, whose modules import this one, or None
    text: str | None

    def __new__(cls, array, model=None, text=None):
        self = np.asarray(array).view(cls)
        self.model, self.text = model, text
        return self

    def _repr_html_(self) -> str:
        facts = {
            "shape": " x ".join(f"{n:,}" for n in self.shape),
            "dtype": self.dtype,
            "model": getattr(self.model, "name", None),
            "text": self.text,
        }
        return Overview("Vectors", facts).html()

    def __array_finalize__(self, other) -> None:
        self.model, self.text = getattr(other, "model", None), None

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        model = _common_model(ufunc, (*inputs, *(out or ())))
        plain = [np.asarray(x) if isinstance(x, Vectors) else x for x in inputs]
        if out is not None:
            kwargs["out"] = tuple(np.asarray(x) if isinstance(x, Vectors) else x for x in out)
        result = getattr(ufunc, method)(*plain, **kwargs)
        if out is not None:
            return out[0] if len(out) == 1 else out
        stays = ufunc not in _LEAVES_THE_SPACE and isinstance(result, np.ndarray) and result.ndim
        stays = stays and result.dtype.kind == "f" and result.shape[-1] == self.shape[-1]
        return Vectors(result, model) if stays else result

    def __reduce__(self):
        return (Vectors, (np.asarray(self), self.model, self.text))


def _common_model(ufunc, arrays):
    models = [a.model for a in arrays if isinstance(a, Vectors) and a.model is not None]
    for other in models[1:]:
        if not models[0].same_space(other):
            raise ModelMismatchError(
                f"{ufunc.__name__} was given vectors of {models[0].name} and of {other.name}, "
                "which do not share an embedding space. Make both with one model, or pass "
                "np.asarray(vectors) to mix them deliberately."
            )
    return models[0] if models else None
