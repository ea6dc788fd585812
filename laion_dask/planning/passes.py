"""All steps of a plan: what the verbs do, and what each pass over the frame costs by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import dask.dataframe as dd

from laion_dask.errors import OptionError, did_you_mean
from laion_dask.frame.provenance import Provenance, arguments_of_type
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.models.heads import EmbeddingHead, Head
from laion_dask.planning.costs import VERBS, head_step, similarity_step, step_of
from laion_dask.planning.inputs import Data, embeddings_of, open_data
from laion_dask.planning.step import Job, Step
from laion_dask.scoring import embedding_kernel as score
from laion_dask.scoring.captions_kernel import captions

#: Verbs that compute, by themselves and anew, the columns that they read.
_EAGER = ("summary", "distributions", "export", "search")
_BOUND = (
    "In the frame: scores that its columns are made of, as if every row were scored; a filter "
    "before them leaves fewer."
)


def steps(
    frame: dd.DataFrame, verbs: object, embeddings: Embeddings | None
) -> tuple[Data, tuple[Step, ...]]:
    """What is known of the frame, and the steps. Eager, but reads footers only."""
    provenance = Provenance.of(frame)
    data = open_data(provenance)
    paired = None if embeddings is None else embeddings_of(provenance, embeddings)
    job = Job(provenance, data, paired)
    verbs = _as_list(verbs)
    made: list[Step] = []
    heads = False
    for verb in verbs:
        step = step_of(job, verb)
        scores = isinstance(verb, EmbeddingHead)
        made.append(_shared(step) if scores and heads else step)
        heads = scores
    return data, (*_in_the_frame(job, verbs, made), *made)


def _as_list(verbs: object) -> list:
    found = verbs if isinstance(verbs, list) else [verbs]
    if not found:
        raise OptionError(f"verbs is empty.{did_you_mean('', VERBS)}")
    return found


def _shared(step: Step) -> Step:
    """The step where the one before it has read the embeddings."""
    note = f"{step.name}: its embeddings are read with those of the head before it"
    return replace(step, metadata_bytes=0, embedding_bytes=0, notes=(*step.notes, note))


def _in_the_frame(job: Job, verbs: list, made: list[Step]) -> list[Step]:
    """The frame's own steps, for all passes together; the verbs hold what they hold, too."""
    found: dict[str, list[Step]] = {}
    again: dict[str, None] = {}
    for i, name, columns, reads in _passes(job, verbs, made):
        carried = _carried(job, columns, reads)
        for step in carried:
            found.setdefault(step.name, []).append(step)
            again[name] = None
        if i is not None:
            held = made[i].held + sum(step.held for step in carried)
            most = max(step.most_held for step in (made[i], *carried))
            made[i] = replace(made[i], held=held, most_held=most)
    return [_together(name, several, list(again)) for name, several in found.items()]


def _together(name: str, several: list[Step], verbs: list[str]) -> Step:
    """A step of the frame that several passes take."""
    notes = [_BOUND]
    if len(several) > 1:
        name = f"{name}, {len(several)} times"
        notes.append(
            f"In the frame: each of {', '.join(verbs)} computes anew what it needs of it; export "
            "it once and read that, or persist it, and it is paid once."
        )
    fields = ("rows", "metadata_bytes", "embedding_bytes")
    sums = {field: sum(getattr(step, field) for step in several) for field in fields}
    return replace(several[0], name=name, notes=(*notes, *several[0].notes), **sums)


def _passes(job: Job, verbs: list, made: list[Step]) -> Iterator[tuple]:
    """Every pass over the frame.

    Yields
    ------
    i : int or None
        Which step it is; None for one that somebody else starts, where all verbs are lazy.
    name : str
    columns : list of str
        That it needs of the frame.
    reads : set of str
        Columns whose bytes a step counts already.
    """
    every = list(job.data.columns)
    names = [None if isinstance(v, Head) else v[0] if isinstance(v, tuple) else v for v in verbs]
    for i, name in enumerate(names):
        if name in _EAGER:
            columns = list(made[i].columns)
            yield i, name, columns, {*columns, *job.data.filtered}
    if not {*names} & {*_EAGER} and {*names} != {"embed"}:
        yield None, "the frame", every, job.data.filtered.union(*(s.columns or () for s in made))


def _carried(job: Job, columns: Iterable[str], reads: set[str]) -> list[Step]:
    """The scores that some columns of the frame are made of, those that its filters read too."""
    kernels = (score.similarity, score.similarity_to, score.heads, captions)
    kernels = [kernel for kernel in kernels if job.provenance.arguments_of(kernel)]
    if not kernels:
        return []
    frame = job.provenance.frame
    frame = frame[[name for name in frame.columns if name in set(columns)]]
    # Optimizing leaves out what these columns do not need.
    carried = Provenance.of(frame.optimize(fuse=False))
    found: list[Step] = []
    for kernel in kernels:
        for frame, args in carried.uses_of(kernel):
            over = Provenance.of(frame)
            pieces = tuple(over.pieces)
            sets = arguments_of_type(args, Embeddings)
            mine = Job(over, replace(job.data, pieces=pieces), sets[0] if sets else None)
            if kernel in (score.similarity, score.similarity_to):
                found.append(_without_metadata(similarity_step(mine, sets[1:]), args[-1]))
                continue
            text = 0 if args[0] in reads else mine.data.stored([args[0]]) if not sets else 0
            for i, head in enumerate(arguments_of_type(args, Head)):
                step = _without_metadata(head_step(mine, head), head.name)
                if i:
                    step = replace(step, embedding_bytes=0)
                found.append(replace(step, metadata_bytes=0 if i else text))
    return found


def _without_metadata(step: Step, name: str) -> Step:
    """The step under its column's name; the filter's columns are read by the verb's own line."""
    return replace(step, name=f"in the frame: {name}", metadata_bytes=0)
