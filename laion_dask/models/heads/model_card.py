"""The report and the model card of a trained head."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from laion_dask.display.overview import Displayed

_CARD = """\
# {name}

A {shape} over unit-norm embeddings of `{clip}`, stored in `head.safetensors` beside this file. Open
it with `laion_dask.heads.load`.

## Data

{n_read:,} rows were given: {n_labelled:,} with a label in `{label}`, {n_unlabelled:,} without.
Of the labeled rows, {n_drawn:,} were sampled (at most {max_rows:,}) by a hash of (seed, shard,
row), seed {seed}. Of the sampled rows, {n_unscored:,} have an embedding that is NaN, zero or
infinite and were excluded, {n_train:,} were used for fitting ({n_train_positive:,} positive) and
{n_test:,} were held out
({n_test_positive:,} positive).

## On the held-out rows

| measure | value |
|---|---|
| ROC-AUC | {roc_auc:.4f} |
| expected calibration error, 15 bins of equal width | {ece:.4f} |

| p from | to | rows | mean p | share positive |
|---|---|---|---|---|
{bins}

Fitted with scikit-learn ({method}). The split is by row: near duplicates of training rows may be
among the held-out rows, which makes the metrics too optimistic. The head inherits the errors and
biases of its labels; inspect rows with high scores before you use it to select or drop rows.
"""


@dataclass(frozen=True)
class Report(Displayed):
    """The training data of a head and its held-out metrics. Prints as one line.

    Attributes
    ----------
    label : str
        The column of the labels.
    hidden : tuple of int
        Widths of the hidden layers; empty for a linear head.
    method : str
        The fitting method.
    n_read, n_unlabelled, n_unscored : int
        Numbers of rows read; without a label; sampled with a label, but without a usable embedding.
    n_train, n_train_positive, n_test, n_test_positive : int
        Numbers of training rows and of held-out rows.
    roc_auc : float
        Area under the ROC curve, on the held-out rows.
    ece : float
        Expected calibration error on the held-out rows: the mean, weighted by rows, of \\|mean p -
        share positive\\| over 15 bins of p of equal width.
    bins : tuple of (low, high, n, mean p, share positive)
        The non-empty bins, in order.
    max_rows, seed : int
        The arguments of the training.
    """

    label: str
    hidden: tuple[int, ...]
    method: str
    n_read: int
    n_unlabelled: int
    n_unscored: int
    n_train: int
    n_train_positive: int
    n_test: int
    n_test_positive: int
    roc_auc: float
    ece: float
    max_rows: int
    seed: int
    bins: tuple = field(repr=False, default=())

    def __post_init__(self) -> None:
        # JSON yields lists, but a spec must be hashable.
        object.__setattr__(self, "hidden", tuple(self.hidden))
        object.__setattr__(self, "bins", tuple(tuple(row) for row in self.bins))

    def as_dict(self) -> dict:
        """The report as a dictionary for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"ROC-AUC {self.roc_auc:.4f}, ECE {self.ece:.4f} on {self.n_test:,} held-out rows "
            f"({self.n_test_positive:,} positive); fitted on {self.n_train:,}"
        )


def model_card(name: str, clip: str, report: Report) -> str:
    """The model card of a trained head, Markdown."""
    widths = " → ".join(map(str, report.hidden))
    rows = [
        f"| {low:.3f} | {high:.3f} | {n:,} | {mean:.3f} | {share:.3f} |"
        for low, high, n, mean, share in report.bins
    ]
    facts = report.as_dict()
    facts["n_labelled"] = report.n_read - report.n_unlabelled
    facts["n_drawn"] = report.n_unscored + report.n_train + report.n_test
    facts["bins"] = "\n".join(rows)
    shape = (
        f"network with ReLU layers ({widths}) and a logistic" if widths else "logistic regression"
    )
    return _CARD.format(**facts, name=name, clip=clip, shape=shape)
