"""The steps that verbs and heads are: what each reads, computes and holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from laion_dask.errors import ColumnError, OptionError, did_you_mean, must_be, one_of
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.models import as_model
from laion_dask.models.heads import (
    EmbeddingHead,
    Head,
    LinearHead,
    NsfwHead,
    PromptHead,
    TrainedHead,
    check_heads,
)
from laion_dask.planning.inputs import vectors_of
from laion_dask.planning.step import Job, Step
from laion_dask.predicate import parse
from laion_dask.schema import PROVENANCE
from laion_dask.validation import whole

#: LAION's NSFW network for ViT-L-14, 768 → 64 → 512 → 256 → 1: multiplications and additions a row.
_NSFW_DIM, _NSFW_FLOP = 768, 2 * (768 * 64 + 64 * 512 + 512 * 256 + 256)


#: Bytes that a search holds of a query beside its vector, for ten results: up to 80 candidates of
#: 20 bytes (kernels.search.settled, kernels.pairs) and ten cosines.
_FOUND = 10 * (8 * 20 + 4)


def step_of(job: Job, verb: object) -> Step:
    """The step that a verb or a head is."""
    if isinstance(verb, Head):
        return head_step(job, verb)
    name, given = verb if isinstance(verb, tuple) and len(verb) == 2 else (verb, None)
    must_be("A verb", name, str, "its name, a head, (name, argument), or a list of these")
    if name not in VERBS:
        raise one_of("A verb", name, VERBS)
    if given is None:
        return VERBS[name](job)
    if name not in _WITH:
        raise OptionError(f"{name} takes no argument, and {given!r} was given. Leave it out.")
    return _WITH[name](job, given)


def _where(job: Job, expression: str | None = None) -> Step:
    note = "where: a core was measured with a filter over six columns that keeps 0.4 % of the rows"
    if expression is not None:
        must_be("The filter", expression, str, "an expression, such as 'similarity > 0.3'")
        return job.over_columns("where", parse(expression, job.data.all_kinds).columns, note)
    if job.data.filtered:
        return job.over_columns("where", (), note)
    every = "where: the frame has no filter yet, so it is counted as reading every column"
    return job.over_columns("where", job.data.columns, note, every)


def _distributions(job: Job, columns: object = None) -> Step:
    floats = ("float32", "float64")
    if columns is None:
        columns = [n for n in job.data.columns if job.data.all_kinds.get(n) in floats]
    columns = [columns] if isinstance(columns, str) else columns
    form = "a column, or a list of columns"
    must_be("distributions' argument", columns, Iterable, form)
    columns = list(columns)
    for name in columns:
        must_be("A column of distributions", name, str, "its name")
        if name not in job.data.columns:
            raise ColumnError(
                f"distributions is of the column {name!r}.{did_you_mean(name, job.data.columns)}"
            )
        if job.data.all_kinds[name] in ("string", "other"):
            raise OptionError(f"distributions is of numbers, and the column {name!r} holds none.")
    three = "distributions: a core was measured with three columns"
    return job.over_columns("distributions", columns, *([three] if len(columns) != 3 else []))


def _summary(job: Job) -> Step:
    return job.over_columns("summary", job.data.columns)


def _export(job: Job) -> Step:
    note = "export: as if every row were kept and written; what is written is not in the bytes read"
    return job.over_columns("export", job.data.columns, note)


def _similarity(job: Job, other: Embeddings | None = None) -> Step:
    if other is None:
        return similarity_step(job, [])
    must_be("similarity's argument", other, Embeddings, "the other embeddings of the same rows")
    return similarity_step(job, [other.paired_with(job.provenance.shards)])


def similarity_step(job: Job, others: Sequence[Embeddings]) -> Step:
    """Similarity to a query, or, with other embeddings of the same rows, to those."""
    if not others:
        return job.over_embeddings("similarity", "similarity", 2)
    step = job.over_embeddings("similarity", "clip_score", 6)
    second = vectors_of(job.data, others[0])
    return replace(
        step,
        embedding_bytes=step.embedding_bytes + second.stored,
        held=step.held + second.held,
        most_held=max(step.most_held, second.most_held),
    )


def _score(job: Job) -> Step:
    return job.over_embeddings("score", "linear", 2, "score: as one linear head")


def _search(job: Job, queries: int = 1) -> Step:
    queries = whole("search's argument", queries, "the number of queries")
    name = "search" if queries == 1 else f"search, {queries:,} queries"
    notes = []
    if queries > 1:
        notes.append(f"{name}: memory for ten results of each")
    if set(job.data.columns) - set(job.data.kinds) - set(PROVENANCE):
        notes.append(
            f"{name}: the columns of what it finds are fetched afterwards, scores among them "
            "computed again for the partitions that they lie in; that is not counted"
        )
    step = job.over_embeddings(name, "search", 2, *notes, queries=queries)
    return replace(step, query_bytes=4 * job.needed(name).dim + _FOUND)


def _embed(job: Job, model: object = "ViT-B-32") -> Step:
    name = as_model(model).name.partition(":")[0]
    note = "embed: the images' bytes are not in a frame, and are not counted"
    return Step(f"embed, {name}", f"embed {name}", job.data.rows, 0, notes=(note,))


def head_step(job: Job, head: Head) -> Step:
    """One head, over the embeddings or captions of every row."""
    name = f"score, {head.name}"
    if head.reads == "captions":
        return replace(job.over_columns("captions", ["text"]), name=name)
    if not isinstance(head, EmbeddingHead):
        note = f"{name}: the images' bytes are not in a frame, and are not counted"
        return Step(name, head.reads, job.data.rows, 0, notes=(note,))
    list(check_heads([head], job.needed(name).model))
    if isinstance(head, NsfwHead):
        flop = _NSFW_FLOP / _NSFW_DIM if head.clip.dim == _NSFW_DIM else 2
        notes = () if head.clip.dim == _NSFW_DIM else (f"{name}: counted as ViT-L-14's network",)
        return job.over_embeddings(name, f"nsfw {head.precision}", flop, *notes)
    if isinstance(head, PromptHead):
        n = len(head.labels)
        notes = () if n == 2 else (f"{name}: it has {n} labels, and the rate was measured with 2",)
        return job.over_embeddings(name, "zero_shot", 2 * n, *notes)
    linear = isinstance(head, LinearHead) or (
        isinstance(head, TrainedHead) and not head.report.hidden
    )
    return job.over_embeddings(name, "linear" if linear else "layers", 2)


_WITH: dict[str, Callable] = {
    "where": _where,
    "similarity": _similarity,
    "search": _search,
    "distributions": _distributions,
    "embed": _embed,
}
VERBS: dict[str, Callable] = {
    **_WITH,
    "score": _score,
    "summary": _summary,
    "export": _export,
}
