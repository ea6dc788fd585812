"""The report of a filter network."""

from __future__ import annotations

from dataclasses import dataclass

from laion_dask.display.overview import Displayed


@dataclass(frozen=True)
class FilterReport(Displayed):
    """The training data of a filter network, and its held-out accuracy. Prints as one line.

    Attributes
    ----------
    n_trusted, n_unscored : int
        Number of trusted rows; of those sampled that lack a usable embedding.
    n_train, n_test : int
        Number of pairs for training, and of held-out pairs.
    accuracy, accuracy_before : float
        Share of held-out images whose own caption is the most similar of all held-out captions,
        with the network and with the cosine of the embeddings. NaN if there are fewer than two.
    loss : float
        Mean loss of the last tenth of the steps, in nats.
    hidden, steps, batch, blend, max_rows, seed
        The arguments of the training.
    """

    n_trusted: int
    n_unscored: int
    n_train: int
    n_test: int
    accuracy: float
    accuracy_before: float
    loss: float
    hidden: int
    steps: int
    batch: int
    blend: float
    max_rows: int
    seed: int

    def __str__(self) -> str:
        return (
            f"own caption first for {self.accuracy:.4f} of {self.n_test:,} held-out images "
            f"({self.accuracy_before:.4f} before); fitted on {self.n_train:,} pairs"
        )
