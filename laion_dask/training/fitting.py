"""Fit a probe to labeled embeddings and evaluate it; works only on arrays."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from laion_dask.errors import OptionError
from laion_dask.stats import reliability

#: Candidates for the inverse strength of a linear probe's L2 penalty.
STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)

#: Share of the training rows used to choose among them, or to stop a network early.
_VALIDATION = 0.15

#: Minimum rows of a class for holding some out.
_MIN_ROWS = 4


def split(y: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions of training and held-out rows; the first ``share`` of each class is held out.

    Parameters
    ----------
    y : (n,) bool array
        In an order that does not depend on the content, such as by a hash.
    share : float
        Between 0 and 1.

    Raises
    ------
    OptionError
        When a class has fewer than four rows.
    """
    held = np.zeros(len(y), bool)
    for side in (False, True):
        rows = np.flatnonzero(y == side)
        if len(rows) < _MIN_ROWS:
            raise OptionError(
                f"{len(rows)} of the {len(y)} labeled rows are "
                f"{'positive' if side else 'negative'}. Expected at least four of each; "
                "label more rows."
            )
        held[rows[: min(max(1, round(share * len(rows))), len(rows) - 2)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def fit(x: np.ndarray, y: np.ndarray, hidden: Sequence[int], seed: int) -> tuple[list[tuple], str]:
    """The layers, as (weight (out, in), bias (out,)), and a description of the method.

    With fewer than four rows of a class, no rows are set aside to choose the penalty, which then
    has scikit-learn's default, or to stop a network early.

    Parameters
    ----------
    x : (n, dim) float32 array
        Unit norm.
    y : (n,) bool array
    hidden : sequence of int
        Widths of hidden layers; empty for a logistic regression.
    seed : int
    """
    return _network(x, y, tuple(hidden), seed) if hidden else _linear(x, y)


def _linear(x: np.ndarray, y: np.ndarray) -> tuple[list[tuple], str]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    def fitted(strength: float, rows: np.ndarray):
        return _quietly(LogisticRegression(C=strength, max_iter=500), x[rows], y[rows])

    if not _enough(y):
        model = fitted(1.0, np.arange(len(y)))
        return [(model.coef_, model.intercept_)], "LogisticRegression, C=1 (too few rows to choose)"
    train, held = split(y, _VALIDATION)
    losses = {
        strength: log_loss(y[held], fitted(strength, train).predict_proba(x[held])[:, 1])
        for strength in STRENGTHS
    }
    best = min(losses, key=losses.__getitem__)
    model = fitted(best, np.arange(len(y)))
    return [(model.coef_, model.intercept_)], f"LogisticRegression, C={best:g}"


def _network(
    x: np.ndarray, y: np.ndarray, hidden: tuple[int, ...], seed: int
) -> tuple[list[tuple], str]:
    from sklearn.neural_network import MLPClassifier

    early = _enough(y)
    model = MLPClassifier(
        hidden, random_state=seed, early_stopping=early, validation_fraction=_VALIDATION
    )
    # The entries of a unit vector are small. The network is trained on entries scaled to about 1,
    # and the scale is then folded into its first layer.
    scale = float(np.sqrt(x.shape[1]))
    model = _quietly(model, scale * x, y)
    layers = [(w.T, b) for w, b in zip(model.coefs_, model.intercepts_, strict=True)]
    layers[0] = (scale * layers[0][0], layers[0][1])
    end = "stopped early" if early else "too few rows to stop early"
    return layers, f"MLPClassifier, {model.n_iter_} epochs, {end}"


def _enough(y: np.ndarray) -> bool:
    """Whether `split` can hold out rows of both classes."""
    return bool(min(np.count_nonzero(y), np.count_nonzero(~y)) >= _MIN_ROWS)


def _quietly(model, x: np.ndarray, y: np.ndarray):
    """Fit a model without the warning that the last digits have not converged."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)


def measured(p: np.ndarray, y: np.ndarray) -> dict:
    """``roc_auc``, ``ece`` and ``bins`` of probabilities on held-out rows.

    Parameters
    ----------
    p : (n,) float array
        In [0, 1].
    y : (n,) bool array
    """
    from sklearn.metrics import roc_auc_score

    bins, ece = reliability(p, y)
    return {"roc_auc": float(roc_auc_score(y, p)), "ece": ece, "bins": bins}
