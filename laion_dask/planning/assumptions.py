"""What the numbers of a plan assume, as sentences below its table."""

from __future__ import annotations

from laion_dask.formatting import in_bytes
from laion_dask.planning.estimate import Line, measured
from laion_dask.planning.inputs import Data
from laion_dask.planning.measured_rates import CPU
from laion_dask.planning.resources import Workers

#: Bytes that any storage delivers in about a second.
_SMALL = 1e8


def assumptions(
    data: Data, rows: int, lines: list[Line], workers: Workers, storage: float | None
) -> list[str]:
    """The assumptions of an estimate for ``rows`` rows, and what it does not include.

    Parameters
    ----------
    data : Data
    rows : int
        The number of rows of the estimate; if it is not that of ``data``, it was scaled.
    lines : sequence of Line
    workers : Workers
    storage : float or None
        Bytes per second; see `Plan`.
    """
    notes = [warning for line in lines if (warning := line.too_large(data))]
    if rows != data.rows:
        notes.append(f"Scaled from {data.rows:,} rows, as if all were like these.")
    if len(data.shards) > len(data.sizes):
        notes.append(
            f"Column sizes from the footers of {len(data.sizes)} of {len(data.shards):,} shards; "
            "for the others, from their file sizes."
        )
    if data.filtered:
        names = ", ".join(sorted(data.filtered))
        notes.append(
            f"As if every row passed the filter (on {names}): the actual number is unknown."
        )
    unknown = dict.fromkeys(repr(name) for line in lines for name in line.unmeasured)
    if unknown:
        on = "a core" if workers.device == CPU else f"a GPU, {workers.device}"
        notes.append(
            f"Nothing has been measured on {on} of {', '.join(unknown)}: give your own rates= "
            "for a time."
        )
    about_gpus = [] if workers.device == CPU else _about_gpus(data, lines, workers)
    notes += [_about_storage(lines, storage), *measured(lines), *about_gpus]
    of_steps = dict.fromkeys(note for line in lines for note in line.step.notes)
    of_rates = dict.fromkeys(note for line in lines for note in line.notes)
    return [*notes, *_folded([*of_steps, *of_rates])]


def _folded(notes: list[str]) -> list[str]:
    """The notes, with those that say the same of several steps in one: ``a, b: …``."""
    steps_of: dict[str, dict[str, None]] = {}
    for note in notes:
        step, _, said = note.rpartition(": ")
        steps_of.setdefault(said, {})[step] = None
    return [": ".join(filter(None, [", ".join(steps), said])) for said, steps in steps_of.items()]


def _about_gpus(data: Data, lines: list[Line], workers: Workers) -> list[str]:
    memory = max(line.step.row_memory for line in lines) * data.partition_rows
    notes = [
        f"Memory is host memory; on the GPU a partition takes about {in_bytes(memory)}, "
        "in addition to blocks of embeddings, which are halved if they do not fit."
    ]
    gpus = dict.fromkeys(line.gpu for line in lines if line.gpu)
    peaks = [f"Peaks of {gpu.name}: {gpu.source}." for gpu in gpus]
    other_gpus = [gpu.name for gpu in gpus if gpu.name != workers.device]
    peaks += [f"They are used for {workers.device}." for _ in other_gpus]
    if peaks:
        notes.append(
            "At best is the lower bound by the peaks, with perfect overlap: not a "
            "projection. No step with such a bound has been measured on such a GPU."
        )
    return [*notes, *peaks]


def _about_storage(lines: list[Line], storage: float | None) -> str:
    if storage is not None:
        return f"Storage: {in_bytes(storage)}/s for all workers together, as given."
    n_bytes = sum(line.step.bytes_read for line in lines)
    if not n_bytes:
        return "Storage is assumed to be fast enough; no step with known bytes reads from it."
    need = max((line.needs for line in lines), default=0.0)
    if not need:
        return (
            "Storage is assumed to be fast enough. The necessary bandwidth is unknown: no step "
            "that reads has been measured. Give the actual bandwidth with storage."
        )
    if n_bytes < _SMALL:
        return f"Storage is assumed to be fast enough for {in_bytes(n_bytes)}."
    return (
        "Storage is assumed to be fast enough: it would have to deliver "
        f"{in_bytes(need)}/s for all workers together. Give its bandwidth with storage."
    )
