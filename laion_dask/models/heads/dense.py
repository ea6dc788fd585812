"""Dense networks over embeddings: ReLU layers with one output, fast on CPUs and GPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial

import numpy as np

from laion_dask.models.heads.batching import moved
from laion_dask.numerics.bfloat16 import onednn_has_bfloat16
from laion_dask.numerics.gpu import fused as gpu

#: The dtypes that a network can compute in.
PRECISIONS = ("float32", "bfloat16")

#: The least standard deviation Keras divides by (Keras, ``Normalization``: ``backend.epsilon()``).
LEAST_DEVIATION = 1e-7


class DenseNetwork:
    """Look-ups, normalization, ReLU layers and a final affine layer, folded for speed.

    The normalization is folded into the first layer, and the layers after the last ReLU into one,
    both in float64. Looked-up inputs are multiplied separately, in a small product, so that rows
    are read in place.

    Parameters
    ----------
    layers : sequence of (weight, bias)
        Arrays of shapes (out, in) and (out,).
    n_relu : int
        The number of layers, from the first, that are followed by ReLU; the others have no
        activation.
    vocabularies : mapping of int to (millionths, indices), optional
        The inputs that are looked up, as in ``tf_saved_model.Detector``.
    mean, variance : ndarray, optional
        (dim,); inputs are normalized to ``(x - mean) / max(sqrt(variance), 1e-7)``.
    """

    def __init__(
        self,
        layers: Sequence[tuple[np.ndarray, np.ndarray]],
        n_relu: int,
        *,
        vocabularies: Mapping[int, tuple[np.ndarray, np.ndarray]] | None = None,
        mean: np.ndarray | None = None,
        variance: np.ndarray | None = None,
    ) -> None:
        layers_f64 = [(np.asarray(w, np.float64), np.asarray(b, np.float64)) for w, b in layers]
        last, shift = layers_f64[n_relu]
        for outer, more in layers_f64[n_relu + 1 :]:
            last, shift = outer @ last, outer @ shift + more
        layers_f64[n_relu:] = [(last, shift)]
        if mean is not None:
            assert variance is not None  # mean and variance are given together
            deviation = np.maximum(np.sqrt(variance.astype(np.float64)), LEAST_DEVIATION)
            weight = layers_f64[0][0] / deviation
            layers_f64[0] = weight, layers_f64[0][1] - weight @ mean.astype(np.float64)
        self._lookup = None
        if vocabularies:
            self._lookup = _lookup_tables(vocabularies, layers_f64[0][0])
            weight = layers_f64[0][0].copy()
            weight[:, list(vocabularies)] = 0
            layers_f64[0] = weight, layers_f64[0][1]
        self._layers = [(w.astype(np.float32), b.astype(np.float32)) for w, b in layers_f64]
        self._on = cache(self._tensors)
        self._fused = cache(partial(gpu.Dense, self._layers, self._lookup))

    @property
    def dim(self) -> int:
        """The length of its input."""
        return self._layers[0][0].shape[1]

    def __call__(self, rows, precision: str):
        """The output of the last layer for each row.

        Parameters
        ----------
        rows : (n, dim) float32 tensor
            The result for a row with a NaN or an infinity is arbitrary.
        precision : str
            ``"float32"``, or ``"bfloat16"`` for all layers except the first and the last.

        Returns
        -------
        (n,) float32 tensor, on the rows' device
        """
        import torch

        layers, lookup = self._on(rows.device, precision)
        (weight, bias), *middle, (last, shift) = layers
        if lookup is None:
            hidden = _relu_layer(rows, weight, bias)
        else:
            hidden = _affine_layer(rows, weight, bias)
            hidden.addmm_(_indices(rows, *lookup[:-1]), lookup[-1]).relu_()
        for weight, bias in middle:
            hidden = _relu_layer(hidden.to(weight.dtype), weight, bias)
        return torch.nn.functional.linear(hidden.float(), last, shift)[:, 0]

    def in_one_pass(self, rows):
        """The output for each row as stored, and its squared length, in one fused kernel.

        All layers except the first and the last are in bfloat16.

        Returns
        -------
        two (n,) float32 tensors, or None
            None if this network, these rows or this device are not supported.
        """
        if not gpu.fits(self._layers):
            return None
        return gpu.dense(rows, self._fused(rows.device))

    def _tensors(self, device, precision: str) -> tuple:
        """The layers and the look-up tables on a device, cached per device."""
        import torch

        layers = [tuple(map(torch.from_numpy, layer)) for layer in self._layers]
        middle = [tuple(p.to(getattr(torch, precision)) for p in layer) for layer in layers[1:-1]]
        lookup = self._lookup and list(map(torch.from_numpy, self._lookup))
        return moved(([layers[0], *middle, layers[-1]], lookup), device)


def _lookup_tables(vocabularies: Mapping, weight: np.ndarray) -> tuple[np.ndarray, ...]:
    """Dimensions, lowest slots, numbers of slots, starts, one table of indices, and weights.

    Each vocabulary is a run of the table: a slot for "absent", which holds 0, then one slot for
    every millionth from its least entry to its greatest. Finding an index is one read; a binary
    search in the sorted entries took a third of the whole network's time.
    """
    dims = np.array(list(vocabularies))
    lowest = np.array([keys[0] for keys, _ in vocabularies.values()])
    size = np.array([keys[-1] - keys[0] + 2 for keys, _ in vocabularies.values()])
    start = np.cumsum(size) - size
    table = np.zeros(size.sum(), np.float32)
    for at, low, (keys, indices) in zip(start, lowest, vocabularies.values(), strict=True):
        table[at + 1 + keys - low] = indices
    lookup_weights = np.ascontiguousarray(weight[:, dims].T, np.float32)
    floats = (array.astype(np.float64) for array in (lowest - 1, size, start))
    return dims, *floats, table, lookup_weights


def millionths(x):
    """The integers given by the six decimals of float16 or float32 numbers, as float64.

    ``x * 1e6`` is exact in float64: 1e6 is 2**6 * 15625, and 24 + 14 bits fit in 53. Rounding it
    half to even therefore gives the result of the C library's ``"%.6f"``, which rounds the exact
    value.
    """
    return (x.double() * 1e6).round_()


def _indices(rows, dims, before, size, start, table):
    """The indices of the looked-up inputs, (n, len(dims)) float32."""
    import torch

    slot = millionths(rows.index_select(1, dims)).sub_(before)
    slot = torch.where((slot > 0) & (slot < size), slot, 0.0)  # also for NaN and infinity
    return table.index_select(0, slot.add_(start).long().view(-1)).view(-1, len(dims))


@cache
def _onednn(dtype):
    """oneDNN's fused layer, twice as fast as torch's own on AMD; None if it is unavailable."""
    import torch

    if not torch.backends.mkldnn.is_available():
        return None
    fused = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    return None if dtype == torch.bfloat16 and fused and not onednn_has_bfloat16() else fused


def _affine_layer(rows, weight, bias):
    import torch

    if rows.device.type == "cpu" and (fused := _onednn(weight.dtype)):
        return fused(rows, weight, bias, "none", [], "")
    return torch.nn.functional.linear(rows, weight, bias)


def _relu_layer(rows, weight, bias):
    if rows.device.type == "cpu" and (fused := _onednn(weight.dtype)):
        return fused(rows, weight, bias, "relu", [], "")
    return _affine_layer(rows, weight, bias).relu_()
