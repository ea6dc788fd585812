"""Sample rows by their scores, with repeats that a penalty limits softly."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np

from laion_dask.cost import Cost, PlannedFrame
from laion_dask.curation import soft_cap_kernel as kernels
from laion_dask.curation.row_table import shards_per_block
from laion_dask.curation.row_writer import RowWriter
from laion_dask.curation.soft_cap_kernel import REPEATS, SoftCap
from laion_dask.errors import OptionError
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.selection import select_rows
from laion_dask.runtime import graph
from laion_dask.runtime.disk_shuffle import spill_folder
from laion_dask.schema import PROVENANCE
from laion_dask.scoring.mixture import check_score
from laion_dask.scoring.score import check_free
from laion_dask.stats.checks import check_integer

#: Rounds of the paper: 128 million draws, 100,000 in a round.
_ROUNDS = 1280
#: Tasks that write the result.
_TASKS = 8


def soft_cap(
    frame: dd.DataFrame,
    column: str,
    n: int,
    *,
    penalty: float = 0.15,
    per_round: int | None = None,
    seed: int = 0,
    to: str = REPEATS,
) -> dd.DataFrame:
    """The rows that n draws by a column of scores choose, with their number of draws. Lazy.

    Soft Cap Sampling (Shechter and Carmon 2025, "Filter like you test", arXiv 2503.08805; as
    ``soft_cap_sampling`` in ``examples.ipynb`` of formll/FLYT): in each round, ``per_round`` rows
    are drawn without replacement with probabilities proportional to the exponential of their
    scores; each draw then subtracts ``penalty`` from the score of its row, so that good rows are
    repeated, but none too often. Scores are logits: a difference of 1 is a factor of 2.7 in
    probability. Scores on another scale, such as cosines, have to be multiplied first, see `mix`.

    Draws depend on a hash of (seed, round, shard, row) only, not on partitions. Scores are read in
    a pass of their own when the result is computed, written to Dask's ``temporary_directory`` (32
    bytes a row, plus 16), which workers on several machines need to share, and drawn from in blocks
    of a million rows: every round reads all of them, at about 20 million rows a second. The pass is
    done again whenever the result is computed again; export the result to compute it once.

    Parameters
    ----------
    frame : dask DataFrame
        From `read_shards`, filtered or with columns added; each row at most once.
    column : str
        The scores. A row whose score is null, NaN or infinite has no probability and is unscored;
        one with a score of minus infinity is never drawn.
    n : int
        Number of draws: the sum of the repeats of the result.
    penalty : float
        0 or more; 0.15 in the paper for its medium scale.
    per_round : int, optional
        Draws in a round, all of different rows; by default n / 1,280, rounded up: 100,000 for the
        128 million draws of the paper. More than there are rows with a score draws each of them.
    seed : int
    to : str
        The new column: int64, at least 1, the number of draws of the row.

    Returns
    -------
    dask DataFrame
        The rows with at least one draw. `rows`, `funnel`, `excluded` and the manifest of an export
        count the others as dropped by ``soft_cap(...)``. The formats ``datacomp`` and
        ``webdataset`` of `export` write each row as often as ``repeats`` says; the others write it
        once, with that column. The manifest has the number of draws.

    Raises
    ------
    OptionError, ColumnError, ProvenanceError
        Immediately, when an argument or the column does not fit.
    ProvenanceError
        During the computation, when the frame contains a row more than once.
    SpillError
        During the computation, when the disk is full.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> logits = frame.laion.mix({"similarity": 20}, to="logit")
    >>> drawn = logits.laion.soft_cap("logit", 500, per_round=50)
    >>> int(drawn["repeats"].sum().compute())
    500
    """
    refuse_exploded(frame, "soft_cap")
    provenance = Provenance.of(frame)
    provenance.check_row_identity()
    check_score(frame, column)
    check_integer("n", n, 1)
    check_integer("seed", seed, 0)
    per_round = -(-n // _ROUNDS) if per_round is None else per_round
    check_integer("per_round", per_round, 1)
    number = isinstance(penalty, (int, float, np.number)) and not isinstance(penalty, bool)
    if not (number and 0 <= penalty < np.inf):
        raise OptionError(f"penalty is {penalty!r}. Expected a number, 0 or more, such as 0.15.")
    check_free(frame, [to])
    spec = SoftCap(column, int(n), float(penalty), int(per_round), int(seed))
    source, target = spill_folder(), spill_folder()
    needed = frame[list(dict.fromkeys([column, *PROVENANCE]))]
    counted = graph.map_to_values(needed, kernels.spill_scores, column, source)
    drawn = graph.gathered(graph.parts(counted), kernels.draw, source, target, spec)
    writer = RowWriter.create(kernels.SCHEMA, shards_per_block(provenance))
    written = graph.tasks(kernels.write_repeats, list(range(_TASKS)), _TASKS, drawn, writer)
    table = writer.lazily(written, _TASKS)
    decided = graph.map_columns(
        frame,
        kernels.decisions,
        table,
        graph.share(spec),
        reads=PROVENANCE,
        meta=kernels.decisions_meta(frame._meta),
    )
    repeated = frame.assign(**{to: decided[REPEATS]})
    return select_rows(repeated, decided[kernels.KEEP], str(spec))


def soft_cap_cost(frame: PlannedFrame, column: str | None = None, n: int | None = None) -> Cost:
    """The cost of `soft_cap`, which computes the frame twice: the scores, and then the rows."""
    if column is not None:
        check_score(frame.frame, column)
    note = "soft_cap: the rate is that of a join on disk; the rounds themselves are not counted"
    return Cost(("join on disk",), columns=(column,) if column else (), notes=(note,))
