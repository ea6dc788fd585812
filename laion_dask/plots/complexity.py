"""Plot the complexity of clusters against the share of their rows that pruning keeps."""

from __future__ import annotations

import pandas as pd

from laion_dask.errors import OptionError, must_be
from laion_dask.plots.description import Axis, Curve, CurvePanel, Form, Plot
from laion_dask.plots.interactive import render

#: The columns that are plotted.
COLUMNS = ("cluster", "size", "complexity", "kept", "share")


def complexity_plot(table: pd.DataFrame, *, title: str = ""):
    """Plot the share kept of each cluster against its complexity, as HoloViews. Eager.

    The number of rows kept follows the complexity; the share is that number over the size of the
    cluster, so small clusters are above large ones of the same complexity. See `prune`.

    Parameters
    ----------
    table : pandas.DataFrame
        What ``frame.laion.complexity(...)`` returns. Clusters whose complexity is NaN are left out.
    title : str

    Raises
    ------
    OptionError
        When ``table`` is something else.
    MissingExtraError
        When HoloViews is not installed.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> plot = ld.complexity_plot(frame.laion.complexity(images, keep=100, n_clusters=5))
    """
    return render(description(table, title))


def description(table: pd.DataFrame, title: str = "") -> Plot:
    """The plot as data, for any renderer."""
    expected = "what frame.laion.complexity(...) returns"
    must_be("table", table, pd.DataFrame, expected)
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise OptionError(f"table has no column {missing[0]!r}. Expected {expected}.")
    ordered = table.dropna(subset=["complexity"]).sort_values(["complexity", "cluster"])
    columns = {name: ordered[name].tolist() for name in COLUMNS}
    tips = {
        "cluster": tuple(f"{n:,}" for n in columns["cluster"]),
        "complexity": tuple(f"{value:.4f}" for value in columns["complexity"]),
        "kept": tuple(
            f"{kept:,} of {size:,} ({100 * share:.3g} %)"
            for kept, size, share in zip(
                columns["kept"], columns["size"], columns["share"], strict=True
            )
        ),
    }
    at = columns["complexity"]
    room = 0.05 * (at[-1] - at[0]) if at else 0.0
    ends = (at[0] - room, at[-1] + room) if room else None  # no dot is cut at an edge
    curve = Curve(
        "",
        tuple(columns["complexity"]),
        tuple(columns["share"]),
        has_dots=True,
        has_line=False,
        tips=tips,
    )
    panel = CurvePanel(
        title,
        (curve,),
        x=Axis("complexity (distance to the centroid x distance of centroids)", ends=ends),
        y=Axis("share of rows kept", Form.SHARE, ends=(0.0, 1.0)),
    )
    return Plot((panel,), has_tools=True)
