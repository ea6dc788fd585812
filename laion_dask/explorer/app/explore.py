"""The verb `explore`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask.dataframe as dd

from laion_dask.errors import must_be
from laion_dask.extras import require_extra
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.images.images import Images
from laion_dask.stats.checks import check_integer

if TYPE_CHECKING:
    from laion_dask.explorer.app.explorer import Explorer


def explore(
    frame: dd.DataFrame,
    emb: Embeddings | None = None,
    images: Images | None = None,
    sample: int = 1_000_000,
    seed: int = 0,
) -> Explorer:
    """Linked views over a sample of the rows: histograms, values, a map, a table, a gallery. Eager.

    What is selected in one view filters all others, and becomes Python code or a recipe that
    selects the same rows of the whole frame. A notebook displays the result; the sample is drawn
    in the background meanwhile. Nothing is fetched from the web.

    Parameters
    ----------
    frame : dask DataFrame
        Must have ``shard`` and ``row``.
    emb : Embeddings, optional
        Embeddings of the frame's rows, from `open_embeddings`, for the map and for questions.
    images : Images, optional
        From `open_images`, for the gallery.
    sample : int
        Rows to draw, as ``frame.laion.sample(n=sample, seed=seed)`` draws them; all, if there are
        no more. About 60 bytes of memory each, and 0.3 kB of disk in the user's cache folder.
    seed : int

    Returns
    -------
    Explorer
        Its ``selected``, ``python`` and ``recipe`` are the selected rows.

    Raises
    ------
    MissingExtraError
        When a package of the extra 'explore' is not installed.
    OptionError, ProvenanceError, PairingError
        When an argument has another type, rows cannot be identified, or the embeddings are not
        those of the frame's shards.
    All are raised immediately, before any data is read.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> explorer = frame.laion.explore(sample=500).wait()
    >>> explorer
    Explorer(500 selected of 500 sampled rows)
    >>> explorer.close()
    """
    require_extra("explore", "explore")
    check_arguments(frame, emb, images, sample, seed)
    from laion_dask.explorer.app.explorer import Explorer
    from laion_dask.explorer.extension import load_in_page
    from laion_dask.explorer.sample import draw_sample

    load_in_page()
    frame = frame.copy()  # the caller may change its own in place, as by frame["width"] = …
    return Explorer(lambda: draw_sample(frame, sample, seed), emb, images)


def check_arguments(frame: dd.DataFrame, emb, images, sample: int, seed: int) -> None:
    """Raise if an argument of `explore` does not fit; reads no data."""
    provenance = Provenance.of(frame)
    provenance.check_row_identity()
    refuse_exploded(frame, "explore")
    check_integer("sample", sample, 1)
    check_integer("seed", seed, 0)
    if emb is not None:
        must_be("emb", emb, Embeddings, "what ld.open_embeddings(...) returns")
        emb.paired_with(provenance.shards)
    if images is not None:
        must_be("images", images, Images, "what ld.open_images(...) returns")
