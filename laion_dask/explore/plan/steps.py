"""The steps of a plan: what each verb and head reads, computes and holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import dask.dataframe as dd

from laion_dask.errors import ColumnError, OptionError, did_you_mean, must_be, one_of
from laion_dask.explore.plan.data import Data, embeddings_of, open_data, vectors_of
from laion_dask.io.embeddings import Embeddings
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
from laion_dask.predicate import parse

#: LAION's NSFW network for ViT-L-14, 768 → 64 → 512 → 256 → 1: multiplications and additions a row.
_NSFW_DIM, _NSFW_FLOP = 768, 2 * (768 * 64 + 64 * 512 + 512 * 256 + 256)


@dataclass(frozen=True)
class Step:
    """One line of a plan, before it is known who does it.

    Attributes
    ----------
    name : str
        As it is printed.
    rate : str
        What rate it goes by; see `Rate.step`.
    rows : int
    metadata_bytes, embedding_bytes : int
        Read from Parquet and from embeddings.
    row_bytes : float
        Of a row of embeddings; 0 where none are read.
    flop : float
        Multiplications and additions a row, at least.
    row_memory : float
        Bytes of a row while its partition is held.
    held, most_held : int
        Bytes of all embeddings, and how many of them a process holds at most.
    queries : int
    notes : tuple of str
        What the numbers leave out.
    """

    name: str
    rate: str
    rows: int
    metadata_bytes: int
    embedding_bytes: int = 0
    row_bytes: float = 0.0
    flop: float = 0.0
    row_memory: float = 0.0
    held: int = 0
    most_held: int = 0
    queries: int = 1
    notes: tuple[str, ...] = ()

    @property
    def resident(self) -> int:
        """Bytes that a process holds of embeddings."""
        return min(self.held, self.most_held)

    @property
    def bytes_read(self) -> int:
        return self.metadata_bytes + self.embedding_bytes

    def times(self, factor: float) -> Step:
        """The same step over so many times the rows."""
        numbers = ("rows", "metadata_bytes", "embedding_bytes", "held")
        return replace(self, **{name: round(getattr(self, name) * factor) for name in numbers})


@dataclass(frozen=True)
class _Job:
    """What steps are made from."""

    frame: dd.DataFrame
    data: Data
    embeddings: Embeddings | None

    def over_columns(self, name: str, columns: Iterable[str], *notes: str) -> Step:
        """A step that reads columns, those of the scan's filter with them."""
        read = [c for c in {*columns, *self.data.filtered} if c in self.data.kinds]
        return Step(
            name,
            name,
            self.data.rows,
            self.data.stored(read),
            row_memory=self.data.row_memory(read),
            notes=notes,
        )

    def over_embeddings(self, name: str, rate: str, flop: float, *notes: str, queries=1) -> Step:
        """A step that reads every row's embedding, and of the metadata what the filter needs."""
        if self.embeddings is None:
            raise OptionError(
                f"{name} reads embeddings, and none are known. Give embeddings=, as "
                "ld.open_embeddings(...) returns them; the frame was not scored with any."
            )
        vectors = vectors_of(self.data, self.embeddings)
        filtered = self.data.filtered
        return Step(
            name,
            rate,
            self.data.rows,
            self.data.stored(filtered),
            vectors.stored,
            vectors.row_bytes,
            flop * vectors.dim * queries,
            self.data.row_memory(filtered),
            vectors.held,
            vectors.most_held,
            queries,
            notes,
        )


def steps(frame: dd.DataFrame, verbs: object, embeddings: Embeddings | None) -> tuple[Data, list]:
    """What is known of the frame, and the steps. Eager, but reads footers only."""
    data = open_data(frame)
    job = _Job(frame, data, embeddings_of(frame, embeddings))
    made: list[Step] = []
    heads = False
    for verb in _as_list(verbs):
        step = _step(job, verb)
        scores = isinstance(verb, EmbeddingHead)
        if scores and heads:
            note = f"{step.name}: its embeddings are read with those of the head before it"
            step = replace(step, metadata_bytes=0, embedding_bytes=0, notes=(*step.notes, note))
        made.append(step)
        heads = scores
    return data, made


def _as_list(verbs: object) -> list:
    found = verbs if isinstance(verbs, list) else [verbs]
    if not found:
        raise OptionError(f"verbs is empty.{did_you_mean('', _PLAIN)}")
    return found


def _step(job: _Job, verb: object) -> Step:
    if isinstance(verb, Head):
        return _head(job, verb)
    name, given = verb if isinstance(verb, tuple) and len(verb) == 2 else (verb, None)
    must_be("A verb", name, str, "its name, a head, (name, argument), or a list of these")
    if name not in _PLAIN:
        raise one_of("A verb", name, _PLAIN)
    if given is None:
        return _PLAIN[name](job)
    if name not in _WITH:
        raise OptionError(f"{name} takes no argument, and {given!r} was given. Leave it out.")
    return _WITH[name](job, given)


def _where(job: _Job, expression: str | None = None) -> Step:
    note = "where: a core was measured with a filter over six columns that keeps 0.4 % of the rows"
    if expression is not None:
        must_be("The filter", expression, str, "an expression, such as 'similarity > 0.3'")
        return job.over_columns("where", parse(expression, job.data.kinds).columns, note)
    if job.data.filtered:
        return job.over_columns("where", (), note)
    every = "where: the frame has no filter yet, so it is counted as reading every column"
    return job.over_columns("where", job.data.columns, note, every)


def _distributions(job: _Job, columns: object = None) -> Step:
    floats = ("float32", "float64")
    if columns is None:
        columns = [n for n in job.data.columns if job.data.kinds.get(n) in floats]
    columns = [columns] if isinstance(columns, str) else list(columns)
    for name in columns:
        if name not in job.data.columns:
            raise ColumnError(
                f"distributions is of the column {name!r}.{did_you_mean(name, job.data.columns)}"
            )
    three = "distributions: a core was measured with three columns"
    return job.over_columns("distributions", columns, *([three] if len(columns) != 3 else []))


def _summary(job: _Job) -> Step:
    return job.over_columns("summary", job.data.columns)


def _export(job: _Job) -> Step:
    note = "export: as if every row were kept and written; what is written is not in the bytes read"
    return job.over_columns("export", job.data.columns, note)


def _similarity(job: _Job, other: Embeddings | None = None) -> Step:
    if other is None:
        return job.over_embeddings("similarity", "similarity", 2)
    must_be("similarity's argument", other, Embeddings, "the other embeddings of the same rows")
    step = job.over_embeddings("similarity", "clip_score", 6)
    second = vectors_of(job.data, other.like(job.frame))
    return replace(
        step,
        embedding_bytes=step.embedding_bytes + second.stored,
        held=step.held + second.held,
        most_held=max(step.most_held, second.most_held),
    )


def _score(job: _Job) -> Step:
    return job.over_embeddings("score", "linear", 2, "score: as one linear head")


def _search(job: _Job, queries: int = 1) -> Step:
    must_be("search's argument", queries, int, "the number of queries")
    if queries < 1:
        raise OptionError(f"search is for {queries} queries. Expected at least 1.")
    name = "search" if queries == 1 else f"search, {queries:,} queries"
    return job.over_embeddings(name, "search", 2, queries=queries)


def _embed(job: _Job, model: object = "ViT-B-32") -> Step:
    name = as_model(model).name.partition(":")[0]
    note = "embed: the images' bytes are not in a frame, and are not counted"
    return Step(f"embed, {name}", f"embed {name}", job.data.rows, 0, notes=(note,))


def _head(job: _Job, head: Head) -> Step:
    name = f"score, {head.name}"
    if head.reads == "captions":
        return replace(job.over_columns("captions", ["text"]), name=name)
    if not isinstance(head, EmbeddingHead):
        note = f"{name}: the images' bytes are not in a frame, and are not counted"
        return Step(name, head.reads, job.data.rows, 0, notes=(note,))
    if job.embeddings is not None:
        list(check_heads([head], job.embeddings.model))
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
_PLAIN: dict[str, Callable] = {
    **_WITH,
    "score": _score,
    "summary": _summary,
    "export": _export,
}
