"""Perceived attributes by zero-shot prompts: counts of groups, and never a label of a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import dask.dataframe as dd
import numpy as np

from laion_dask.aggregations import perceived_kernel as kernels
from laion_dask.aggregations.engine.base import ReportOptions
from laion_dask.aggregations.engine.statistics import report_options
from laion_dask.aggregations.grouping.base import Grouping, grouping
from laion_dask.caveats import CAVEATS
from laion_dask.cost import EMBEDDINGS, Cost, PlannedFrame
from laion_dask.dtypes import kind_of
from laion_dask.errors import OptionError, must_be
from laion_dask.frame.accounting import AccountingInputs
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.models import ClipModel, EmbeddingSpace, check_same_space
from laion_dask.models.heads.zero_shot import TEMPERATURE
from laion_dask.runtime import graph
from laion_dask.schema import PROVENANCE
from laion_dask.stats.association import as_rows
from laion_dask.stats.intervals import wilson
from laion_dask.stats.table import Table, suppressed, table

#: The fewest rows for which counts are reported.
LEAST_N = 30
#: Stands in every row of a result, in two columns, and brings the caveat with it.
MARK = "model-assigned"
NOT_ASSIGNED = "not assigned"
NAME = f"perceived, {MARK}"


def perceived(
    frame: dd.DataFrame,
    embeddings: Embeddings,
    prompts: Mapping,
    *,
    by: str | Grouping | None = None,
    margin: float = 0.2,
    level: float = 0.95,
    min_n: int = LEAST_N,
) -> Table:
    """How many pictures a CLIP model finds nearest to which of some prompts. Eager.

    What comes back is perceived, model-assigned, and aggregate only: counts of groups of
    ``min_n`` rows or more, with a caveat that stays with them. The label of a row exists while its
    block of embeddings is counted, and is returned nowhere.

    A picture gets the label whose probability is highest, if it is ahead of the next by
    ``margin``; else it is *not assigned*, and counted as such. Probabilities are the softmax of
    the cosines times the model's logit scale (Radford et al. 2021, section 3.1.4); several prompts
    of a label are averaged at length one, and brought to length one. The model picks one of
    the labels for *every* picture, of people or not: leave out others first, for instance with
    ``ld.heads.zero_shot`` and `where`. Counts are the same for any partitioning and number of
    workers: every row is compared by itself, on the processor, also where the frame is cuDF's.

    Parameters
    ----------
    frame : dask DataFrame
        With ``shard`` and ``row``.
    embeddings : Embeddings
        Of the frame's images.
    prompts : mapping
        Of an attribute to its labels: ``{"gender": {"woman": "a photo of a woman", "man": "a photo
        of a man"}}``. A label has a prompt, a list of prompts, or vectors (dim,) or (m, dim).
        Labels alone, ``{"woman": …, "man": …}``, are of an attribute that has no name. Two labels
        or more.
    by : str or Grouping, optional
        Groups of rows that are counted apart: a column, or a grouping such as
        ``ld.terms("gender")``.
    margin : float
        In [0, 1), a difference of two probabilities, as in margin sampling (Scheffer et al. 2001).
        0.2 is a convention of this package: of two labels, the first has 60 % at least. Two labels
        that are level are never assigned.
    level : float
        Coverage of the intervals.
    min_n : int
        30 at least: smaller groups are left out, and counted as suppressed. Counts of two frames,
        or of two groups, that differ in one row still tell of that row, and a group whose rows all
        have one label tells it of each of them; publish neither.

    Returns
    -------
    Table
        One row an attribute and label, and one for ``not assigned``: ``term`` is such as
        ``perceived gender (model-assigned)``, ``group`` the label. With ``by``, one row a group as
        well: ``term`` is such as ``woman: perceived gender (model-assigned)``, ``axis`` and
        ``group`` say among which rows. ``n`` rows that have an embedding, ``k`` of them with the
        label, ``rate`` with its Wilson interval ``lo``, ``hi``; ``unscored`` further rows of the
        group, whose embedding is NaN, infinite or zero. ``attrs`` has ``rows``, ``suppressed``,
        ``caveats``.

    Raises
    ------
    OptionError
        When prompts are not of that form, or an option is out of its range.
    ColumnError
        When ``by`` names no column.
    ModelMismatchError
        When vectors are known to come from another model than the embeddings.
    PairingError, ProvenanceError
        When the embeddings are not those of the frame's shards. All are raised at once.
    ProvenanceError
        When a row stands in the frame more than once.
    WeightsError
        When prompts are texts, and the model's weights are not on this machine.

    References
    ----------
    Radford, A. et al. (2021). Learning transferable visual models from natural language
    supervision. ICML. Scheffer, T., Decomain, C., Wrobel, S. (2001). Active hidden Markov models
    for information extraction. IDA. On what such labels do to the people they are put on:
    Scheuerman, M. K., Paul, J. M., Brubaker, J. R. (2019). How computers see gender. CSCW.
    """
    provenance = Provenance.of(frame)
    must_be("embeddings", embeddings, Embeddings, "what ld.open_embeddings(...) returns")
    provenance.check_identity_columns()
    provenance.check_branches()
    options = _reporting(level, min_n)
    question = _question(frame, embeddings, prompts, by, margin)
    paired = embeddings.paired_with(provenance.shards)
    reads = list(
        dict.fromkeys([*PROVENANCE, *(question.by.reads if question.by is not None else ())])
    )
    given = (graph.share(paired), graph.share(question))
    meta = kernels.no_rows()
    counts = graph.map_columns(frame, kernels.counted, *given, reads=reads, meta=meta)
    whole = graph.reduce(counts, kernels.added, meta=meta)
    accounting = AccountingInputs.where_known(provenance)
    result, *others = graph.compute(whole, *accounting.collections, label="perceived attributes")
    found = _to_rows(question, result["states"].iloc[0], options)
    rows = accounting.balance(int(result["rows"].sum()), [result, *others])
    if rows is not None:
        found.attrs["rows"] = vars(rows)
    return found


def _to_rows(question: kernels.Question, states: tuple, options: ReportOptions) -> Table:
    rows = (
        row
        for axis, state in zip(question.axes, states, strict=True)
        for group in sorted(state)
        for row in _group_rows(question, axis, group, state[group], options)
    )
    names = ["statistic", "term", "group", "n", "k", "rate", "lo", "hi", "unscored", "method"]
    found = table(list(rows)) if any(states) else table([dict.fromkeys(names)]).iloc[:0]
    found = suppressed(found, options.min_n)
    found.attrs["caveats"] = (CAVEATS[MARK],)
    return found


def _group_rows(
    question: kernels.Question,
    axis: kernels.Axis,
    group: str,
    counts: np.ndarray,
    options: ReportOptions,
) -> Iterator[dict]:
    *assigned, unscored = counts.tolist()
    n = sum(assigned)
    term = f"perceived {axis.name} ({MARK})"
    for label, k in zip((*axis.labels, NOT_ASSIGNED), assigned, strict=True):
        lo, hi = wilson(k, n, options.level)
        if question.by is None:
            among = {"term": term, "group": label}
        else:
            among = {"term": f"{label}: {term}", "axis": question.by.axis, "group": group}
        yield {
            "statistic": NAME,
            **among,
            "n": n,
            "k": k,
            "rate": k / n if n else float("nan"),
            "lo": lo,
            "hi": hi,
            "unscored": unscored,
            "method": f"zero-shot, logit scale {question.scale:.4g}, margin {question.margin:g}; "
            "Wilson",
        }


def _reporting(level: float, min_n: int) -> ReportOptions:
    options = report_options(level, min_n)
    if min_n < LEAST_N:
        raise OptionError(
            f"min_n is {min_n}. Perceived attributes are told of groups of {LEAST_N} rows or more, "
            "so that nobody's can be read off; leave min_n out, or give a higher one."
        )
    return options


def _question(frame, embeddings: Embeddings, prompts, by, margin) -> kernels.Question:
    number = isinstance(margin, (int, float, np.number)) and not isinstance(margin, bool)
    if not number or not 0 <= margin < 1:
        raise OptionError(f"margin is {margin!r}. Expected a number from 0 to less than 1.")
    bound = None
    if by is not None:
        kinds = {name: kind_of(dtype) for name, dtype in frame.dtypes.items()}
        bound = grouping(by).bind(kinds)
    asked = _asked(prompts)
    embed = partial(_vector, embeddings.model)
    axes = tuple(
        kernels.Axis(name, tuple(labels), np.stack([embed(*item) for item in labels.items()]))
        for name, labels in asked.items()
    )
    texts = any(_is_text(given) for labels in asked.values() for given in labels.values())
    # Prompts that were embedded elsewhere need no weights here, on any machine.
    scale = embeddings.model.load().logit_scale if texts else TEMPERATURE
    return kernels.Question(axes, float(scale), float(margin), bound)


def _asked(prompts) -> dict[str, dict]:
    """Attribute → label → what it was given."""
    expected = "a dict such as {'gender': {'woman': 'a photo of a woman', 'man': …}}"
    must_be("prompts", prompts, Mapping, expected)
    nested = [isinstance(given, Mapping) for given in prompts.values()]
    asked = dict(prompts) if all(nested) else {"attribute": dict(prompts)}
    if not prompts or (any(nested) and not all(nested)):
        raise OptionError(f"prompts is {dict(prompts)!r}. Expected {expected}.")
    for name, labels in asked.items():
        for each in (name, *labels):
            if not isinstance(each, str) or not each.strip():
                raise OptionError(f"An attribute or a label is {each!r}. Expected a word.")
        if len(labels) < 2:
            raise OptionError(
                f"{name!r} has {len(labels)} label. The model picks the nearest of several; give "
                "two or more, such as 'a photo of a person' and 'a photo without people'."
            )
        if NOT_ASSIGNED in labels:
            raise OptionError(f"{NOT_ASSIGNED!r} is what no label is called. Name it otherwise.")
    return {name: dict(labels) for name, labels in asked.items()}


def _is_text(given) -> bool:
    several = isinstance(given, (list, tuple))
    return isinstance(given, str) or (several and any(isinstance(each, str) for each in given))


def _vector(model: ClipModel, label: str, given) -> np.ndarray:
    """The direction of a label, (dim,) float32."""
    if _is_text(given):
        given = [given] if isinstance(given, str) else list(given)
        for each in given:
            must_be(f"A prompt of {label!r}", each, str, "a str; vectors are given by themselves")
        given = model.text(given)
    for each in (given, *(given if isinstance(given, (list, tuple)) else ())):
        other = getattr(each, "model", None)
        if isinstance(other, (ClipModel, EmbeddingSpace, str)):
            check_same_space(model, other, f"The embeddings and the vectors of {label!r}")
    rows = as_rows(f"The label {label!r}", given)
    if rows.shape[1] != model.dim:
        raise OptionError(
            f"The label {label!r} has vectors of {rows.shape[1]} numbers; {model.name} makes "
            f"{model.dim}."
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        mean = rows.mean(axis=0)
        found = mean / np.linalg.norm(mean)
    if not np.isfinite(found).all():
        raise OptionError(f"The vectors of {label!r} have no direction: zero, NaN or infinite.")
    return found.astype(np.float32)


def perceived_cost(
    frame: PlannedFrame, prompts: Mapping | None = None, by: str | Grouping | None = None
) -> Cost:
    """The cost of `perceived`; by default of two labels, without groups.

    Raises
    ------
    OptionError, ColumnError
        When ``prompts`` is not a mapping, or ``by`` names no column.
    """
    must_be("prompts", prompts, (Mapping, type(None)), "a mapping, as ld.perceived takes it")
    each = (prompts or {"one": "", "other": ""}).values()
    n = sum(len(labels) if isinstance(labels, Mapping) else 1 for labels in each)
    notes = () if n == 2 else (f"perceived: of {n} labels, and the rate was measured with 2",)
    axis = None if by is None else grouping(by).bind(frame.kinds)
    grouped = Cost(()) if axis is None else axis.cost
    return Cost(
        ("perceived", *grouped.rates, *grouped.shared),
        reads=EMBEDDINGS,
        columns=() if axis is None else axis.reads,
        flop=2.0 * n * frame.embeddings_for("perceived").dim,
        notes=notes,
    )
