"""All steps of a plan: the steps of the verbs, and the pending work of the frame in each pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import dask.dataframe as dd

from laion_dask.cost import Cost, is_spec
from laion_dask.frame.kernel_uses import kernel_uses
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.planning.inputs import Data, embeddings_of, open_data
from laion_dask.planning.requests import Request, requests
from laion_dask.planning.step import FrameFacts, Step

#: The start of the names of steps that a frame still has to compute.
IN_FRAME = "in the frame: "
_BOUND = (
    "In the frame: its computed columns, counted as if every row were computed; a preceding "
    "filter leaves fewer."
)


def steps(
    frame: dd.DataFrame, verbs: object, embeddings: Embeddings | None
) -> tuple[Data, tuple[Step, ...]]:
    """The facts about the frame, and the steps of the plan. Eager, but reads only footers."""
    provenance = Provenance.of(frame)
    data = open_data(provenance)
    paired = None if embeddings is None else embeddings_of(provenance, embeddings)
    facts = FrameFacts(provenance, data, paired)
    verb_requests = requests(verbs)
    own_steps = [_own_steps(facts, request) for request in verb_requests]
    return data, (
        *_pending_steps(facts, verb_requests, own_steps),
        *(step for verb_steps in own_steps for step in verb_steps),
    )


def _own_steps(facts: FrameFacts, request: Request) -> list[Step]:
    costs = request.costs(facts)
    steps_of_verb = [facts.step(cost, request.verb.name) for cost in costs]
    if not request.shares_embeddings:
        return steps_of_verb
    return [steps_of_verb[0], *map(_without_embeddings, steps_of_verb[1:])]


def _without_embeddings(step: Step) -> Step:
    """The step without reading embeddings, which the previous step has read."""
    note = f"{step.name}: its embeddings are read together with those of the previous head"
    return replace(step, metadata_bytes=0, embedding_bytes=0, notes=(*step.notes, note))


def _pending_steps(
    facts: FrameFacts, verb_requests: list[Request], own_steps: list[list[Step]]
) -> list[Step]:
    """The frame's pending steps in all passes; adds the embeddings they hold to ``own_steps``."""
    # ``where`` without an expression is the name of the frame's filters, which it then counts.
    names_filters = any(r.verb.name == "where" and not r.arguments for r in verb_requests)
    by_name: dict[str, list[Step]] = {}
    passes: dict[str, None] = {}
    for name, position, columns, reads in _passes(facts, verb_requests, own_steps):
        pending = [
            step
            for step in _pending(facts, columns, reads)
            if not (names_filters and step.rates == ("where",))
        ]
        for step in pending:
            by_name.setdefault(step.name, []).append(step)
            passes[name] = None
        if position is not None:
            i, j = position
            resident_bytes = own_steps[i][j].resident_bytes + sum(
                step.resident_bytes for step in pending
            )
            max_resident_bytes = max(
                step.max_resident_bytes for step in (own_steps[i][j], *pending)
            )
            own_steps[i][j] = replace(
                own_steps[i][j],
                resident_bytes=resident_bytes,
                max_resident_bytes=max_resident_bytes,
            )
    return [_combined_step(name, several, list(passes)) for name, several in by_name.items()]


def _combined_step(name: str, several: list[Step], verbs: list[str]) -> Step:
    """One step for pending work that several passes compute."""
    notes = [] if several[0].rates == ("where",) else [_BOUND]
    if len(several) > 1:
        name = f"{name}, {len(several)} times"
        notes.append(
            f"In the frame: each of {', '.join(verbs)} computes this again; to compute it only "
            "once, export the frame and read the export."
        )
    fields = ("rows", "metadata_bytes", "embedding_bytes")
    sums = {field: sum(getattr(step, field) for step in several) for field in fields}
    return replace(several[0], name=name, notes=(*notes, *several[0].notes), **sums)


def _passes(
    facts: FrameFacts, verb_requests: list[Request], own_steps: list[list[Step]]
) -> Iterator[tuple]:
    """Every pass over the frame: one per eager verb, or one that the caller starts later.

    Yields
    ------
    name : str
    place : (int, int) or None
        Its indices in ``own_steps``; None for the pass that lazy verbs wait for.
    columns : tuple of str
        The columns of the frame that are computed.
    reads : set of str
        The columns whose bytes are already counted by a step.
    """
    is_started, waits = False, False
    for i, (request, verb_steps) in enumerate(zip(verb_requests, own_steps, strict=True)):
        for j, step in enumerate(verb_steps):
            if step.is_pass and request.verb.is_lazy:
                waits = True
            elif step.is_pass:
                is_started = True
                yield request.verb.name, (i, j), step.columns, {*step.columns, *facts.filtered}
    if waits and not is_started:
        reads = facts.filtered.union(
            *(step.columns for verb_steps in own_steps for step in verb_steps)
        )
        yield "the frame", None, facts.columns, set(reads)


def _pending(facts: FrameFacts, columns: Iterable[str], reads: set[str]) -> list[Step]:
    """The pending steps for some columns of the frame, including those of its filters."""
    frame = facts.frame
    frame = frame[[name for name in frame.columns if name in set(columns)]]
    frame = frame.simplify()  # drops work that these columns do not need
    uses: list[tuple[dd.DataFrame, list, list]] = []
    seen_specs: list = []  # a spec may be an argument of several kernels; the last one counts
    for over, arguments in kernel_uses(frame):
        specs = [a for a in arguments if is_spec(a)]
        specs = [spec for spec in specs if spec not in seen_specs]
        seen_specs += specs
        uses.append((over, arguments, specs))
    return [
        *_filters_of_scans(facts, reads),
        *(
            step
            for over, arguments, specs in reversed(uses)
            for step in _steps_of_kernel(facts, over, arguments, specs, reads)
        ),
    ]


def _filters_of_scans(facts: FrameFacts, reads: set[str]) -> Iterator[Step]:
    """The filters that scans evaluate; adds the columns that they read to ``reads``."""
    for scan, partitions in facts.provenance.sources:
        if scan.where is not None:
            scanned = replace(facts, data=replace(facts.data, partitions=tuple(partitions)))
            yield _pending_step(scanned, scan.where.cost, (), reads)


def _pending_step(
    facts: FrameFacts, cost: Cost, sets: tuple[Embeddings, ...], reads: set[str]
) -> Step:
    # Columns of filters and of the verb are counted by the verb's own step.
    n_bytes = facts.data.stored({*cost.columns} - reads) + cost.other_bytes
    reads |= {*cost.columns}
    step = facts.step(replace(cost, embeddings=sets), cost.label)
    return replace(step, name=f"{IN_FRAME}{cost.label}", metadata_bytes=n_bytes)


def _steps_of_kernel(
    facts: FrameFacts, over: dd.DataFrame, arguments: list, specs: list, reads: set[str]
) -> Iterator[Step]:
    """The steps of one kernel, one per spec; adds the columns that it reads to ``reads``."""
    if not specs:
        return
    provenance = Provenance.of(over)
    data = replace(facts.data, partitions=tuple(provenance.partitions))
    sets = tuple(a for a in arguments if isinstance(a, Embeddings))
    kernel_facts = FrameFacts(provenance, data, sets[0] if sets else None)
    for number, spec in enumerate(specs):
        step = _pending_step(kernel_facts, spec.cost, sets, reads)
        yield replace(step, embedding_bytes=0) if number else step
