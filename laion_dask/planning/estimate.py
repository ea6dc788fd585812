"""The estimate of one step of a plan: its time by measured rates or GPU peaks, and its memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from laion_dask.cost import Work
from laion_dask.formatting import in_bytes, in_time
from laion_dask.planning.inputs import Data
from laion_dask.planning.measured_rates import CPU, Gpu, Rate, Rates
from laion_dask.planning.resources import Workers
from laion_dask.planning.step import Step


@dataclass(frozen=True)
class Line:
    """A step with the workers that run it.

    Attributes
    ----------
    step : Step
    workers : Workers
    rate : Rate or None
        The combined rate of all its work; None if part of it was not measured.
    measured : tuple of Rate
        The rates of its measured parts.
    gpu : Gpu or None
        The GPU whose peaks bound the step, if it was not measured.
    seconds, low, high : float
        According to the rate; NaN without a rate.
    at_best : float
        According to the GPU's peaks; NaN without peaks.
    needs : float
        Bytes per second that the storage must deliver so as not to be the bottleneck.
    seconds, low, high : float
        According to the rate; NaN without a rate.
    at_best : float
        According to the GPU's peaks; NaN without peaks.
    needs : float
        Bytes per second that the storage must deliver so as not to be the bottleneck.
    limit : str
    memory_bytes : int
    notes : tuple of str
    """

    step: Step
    workers: Workers
    rate: Rate | None
    measured: tuple[Rate, ...]
    gpu: Gpu | None
    seconds: float
    low: float
    high: float
    at_best: float
    needs: float
    limit: str
    memory_bytes: int
    notes: tuple[str, ...]

    def row(self) -> dict:
        """The line as a row of `Plan.table`."""
        source = self.rate.source if self.rate else self.gpu.source if self.gpu else ""
        return {
            "step": self.step.name,
            "rows": self.step.rows,
            "bytes_read": self.step.bytes_read,
            "seconds": self.seconds,
            "seconds_low": self.low,
            "seconds_high": self.high,
            "at_best": self.at_best,
            "memory_bytes": self.memory_bytes,
            "limit": self.limit,
            "source": source,
        }

    def shown(self) -> dict[str, str]:
        """The line as formatted text, by column."""
        texts = {"step": _short(self.step.name), "bytes read": in_bytes(self.step.bytes_read)}
        if self.workers.device == CPU or self.rate:
            is_measured = self.rate is not None
            texts["time"] = in_time(self.seconds) if is_measured else "not measured"
            texts["between"] = (
                f"{in_time(self.low)} and {in_time(self.high)}" if is_measured else ""
            )
        else:
            texts["time"] = "not measured"
            texts["at best"] = in_time(self.at_best) if self.gpu else "?"
        texts["memory a worker"] = in_bytes(self.memory_bytes)
        texts["limited by"] = self.limit
        return texts

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """The rates of the step that have not been measured on the workers' device."""
        names = {rate.step for rate in self.measured}
        return tuple(name for name in self.step.rates if name not in names)

    def too_large(self, data: Data) -> str | None:
        """The remedy if a worker's memory is too small, or None."""
        limit, name = self.workers.memory_limit, self.step.name
        if limit is None or self.memory_bytes <= limit:
            return None
        problem = (
            f"{name}: a worker needs {in_bytes(self.memory_bytes)} and has {in_bytes(limit)}. "
        )
        row_memory = self.step.row_memory * self.workers.threads
        available = limit - (self.memory_bytes - row_memory * data.partition_rows)
        fitting = int(available // row_memory) if row_memory else 0
        if fitting < 1000:
            return (
                f"{problem}Give each more memory: fewer workers, or memory_limit= of start_cluster."
            )
        round_ = fitting - fitting % 1000
        if fitting < data.group_rows:
            return (
                f"{problem}Partitions are whole row groups, and some row groups have "
                f"{data.group_rows:,} rows: rewrite the shards with row groups of at most "
                f"{round_:,} rows, or give each worker more memory."
            )
        fitting = fitting if round_ < data.group_rows else round_
        return (
            f"{problem}Make partitions smaller: --max-rows-per-partition {fitting}, or in Python "
            f"read_shards(max_rows_per_partition={fitting:_})."
        )


def _short(name: str) -> str:
    """A name of at most 60 characters, without its middle."""
    return name if len(name) <= 60 else f"{name[:44]}…{name[-15:]}"


def line_of(step: Step, workers: Workers, rates: Rates, storage: float | None, data: Data) -> Line:
    """The estimate of a step for the given workers."""
    measured, notes = _measured_rates(step, workers, rates)
    rate = _sequential_rate(measured) if len(measured) == len(step.rates) else None
    reading = step.bytes_read / storage if storage else 0.0
    nan = math.nan
    seconds, low, high, at_best, limit, gpu = nan, nan, nan, nan, "not known", None
    bandwidth = 0.0
    if rate is not None:
        work, fast, slow = (
            step.rows / (speed * workers.n_concurrent)
            for speed in (rate.rows_per_s, rate.fastest, rate.slowest)
        )
        # At best, reading and computing overlap; at worst, they do not.
        seconds, low, high = max(work, reading), max(fast, reading), slow + reading
        limit = "storage" if reading > work else "processor" if workers.device == CPU else "GPU"
        bandwidth = step.bytes_read / work if work else 0.0
    elif workers.device != CPU and step.row_memory:  # 0 for images, whose bytes are unknown
        gpu, bounds = _bounds(step, workers, rates)
        if bounds:
            at_best = max([*bounds.values(), reading])
            bandwidth = step.bytes_read / at_best if at_best else 0.0
            limit = max({"storage": reading, **bounds}.items(), key=lambda bound: bound[1])[0]
    block_memory = step.row_memory * data.partition_rows * workers.threads
    process = rate.process_bytes if rate else _process(step, rates)
    if rate is None:
        notes += (
            "Memory of unmeasured steps: the partition, the embeddings, and the process of the "
            "most similar step on a CPU core; larger models are not included.",
        )
    memory = round(process + step.resident + block_memory)
    return Line(
        step,
        workers,
        rate,
        measured,
        gpu,
        seconds,
        low,
        high,
        at_best,
        bandwidth,
        limit,
        memory,
        notes,
    )


def _process(step: Step, rates: Rates) -> float:
    """Process memory in bytes of an unmeasured step, from similar steps, or else from any step."""
    verbs = {name.partition(" ")[0] for name in step.rates}
    alike = [r.process_bytes for r in rates.rates if r.step.partition(" ")[0] in verbs]
    fallback = min((r.process_bytes for r in rates.rates), default=0)
    return max(alike, default=fallback) + step.query_bytes * step.queries


def _sequential_rate(rates: tuple[Rate, ...]) -> Rate | None:
    """The rate of work done sequentially: the times per row add up."""
    if len(rates) < 2:
        return rates[0] if rates else None
    slowest, rows_per_s, fastest = (
        1 / sum(1 / getattr(rate, name) for rate in rates)
        for name in ("slowest", "rows_per_s", "fastest")
    )
    return replace(
        max(rates, key=lambda rate: rate.process_bytes),
        slowest=slowest,
        rows_per_s=rows_per_s,
        fastest=fastest,
        source=", ".join(dict.fromkeys(rate.source for rate in rates)),
    )


def _measured_rates(
    step: Step, workers: Workers, rates: Rates
) -> tuple[tuple[Rate, ...], tuple[str, ...]]:
    """The measured rates of a step, and notes on their applicability."""
    each = [_rate(step, name, workers.device, rates) for name in step.rates]
    if step.work is not None and step.rows:
        each = [
            (rate and _of_rows(rate, work, step.rows, workers.n_concurrent), rate_notes)
            for (rate, rate_notes), work in zip(each, step.work(step.rows), strict=True)
        ]
    notes = dict.fromkeys(note for _, rate_notes in each for note in rate_notes)
    return tuple(rate for rate, _ in each if rate is not None), tuple(notes)


def _of_rows(rate: Rate, work: Work, rows: int, n_concurrent: int) -> Rate:
    """The rate in rows per second, if they take so many units, in so many tasks."""
    share = min(1.0, work.tasks / n_concurrent)
    return _faster(rate, share * rows / max(work.units, 1e-9))


def _rate(step: Step, name: str, device: str, rates: Rates) -> tuple[Rate | None, tuple[str, ...]]:
    """One rate of a step, adjusted to its number of queries and its row width."""
    candidates = rates.of(name, device)
    if not candidates:
        return None, ()
    notes: tuple[str, ...] = ()
    exact = [rate for rate in candidates if rate.queries == step.queries]
    rate = (exact or candidates)[0]
    n_more = max(0, step.queries - (exact or candidates)[-1].queries)
    if not exact and len(candidates) > 1:
        rate = _between(candidates[0], candidates[-1], step.queries)
        notes = (
            f"{step.name}: linear in the number of queries, from the times of "
            f"{candidates[0].queries:,} and {candidates[-1].queries:,} queries.",
        )
    rate = replace(rate, process_bytes=round(rate.process_bytes + n_more * step.query_bytes))
    if rate.device != device:
        notes += (f"{step.name}: measured on {rate.device}, assumed to apply to {device}.",)
    if rate.row_bytes and step.row_bytes and rate.row_bytes != step.row_bytes:
        factor = rate.row_bytes / step.row_bytes
        rate = _faster(rate, factor)
        notes += (
            f"{step.name}: measured with {rate.row_bytes:,} bytes per row, and scaled to "
            f"{step.row_bytes:,.0f} here.",
        )
    return rate, notes


def _faster(rate: Rate, factor: float) -> Rate:
    speeds = {name: getattr(rate, name) * factor for name in ("rows_per_s", "slowest", "fastest")}
    return replace(rate, **speeds)


def _between(one: Rate, many: Rate, queries: int) -> Rate:
    """A rate for any number of queries: the time per row is linear in their number."""
    share = (queries - one.queries) / (many.queries - one.queries)
    speeds = []
    for name in ("slowest", "rows_per_s", "fastest"):
        first, last = 1 / getattr(one, name), 1 / getattr(many, name)
        speeds.append(1 / (first + max(0.0, last - first) * share))
    low, middle, high = sorted(speeds)
    return replace(many, queries=queries, slowest=low, rows_per_s=middle, fastest=high)


def _bounds(step: Step, workers: Workers, rates: Rates) -> tuple[Gpu | None, dict[str, float]]:
    """Lower bounds of a step's seconds, from the peaks of a GPU's link, memory and arithmetic."""
    gpu = rates.gpu(workers.device)
    if gpu is None:
        return None, {}
    return gpu, {
        "link to the GPU": step.bytes_read / (gpu.link_bytes_per_s * workers.n),
        "GPU memory": step.bytes_read / (gpu.memory_bytes_per_s * workers.n),
        "GPU arithmetic": step.rows * step.flop / (gpu.bfloat16_flop_per_s * workers.n),
    }


def measured(lines: list[Line]) -> list[str]:
    """The sources of the rates, and what their spread does not include."""
    rates = [rate for line in lines if line.rate is not None for rate in line.measured]
    if not rates:
        return []
    processors = _joined([rate.processor for rate in rates], ", ", " or ")
    files = _joined([rate.source for rate in rates], "/", ", ")
    dates = " to ".join(dict.fromkeys([min(r.date for r in rates), max(r.date for r in rates)]))
    return [
        f"Measured on {processors}, {dates}: {files}.",
        "The column 'between' is the spread of the benchmark's own runs, without starting workers, "
        "loading models and scheduling, which dominate the time of a small job; other CPUs, cores "
        "that share one memory, and slow networks differ.",
    ]


def _joined(names: list[str], separator: str, between: str) -> str:
    """The names, with what several have before their last separator once."""
    last_of: dict[str, dict[str, None]] = {}
    for name in names:
        first, found, last = name.rpartition(separator)
        last_of.setdefault(first + found, {})[last] = None
    return ", ".join(first + between.join(lasts) for first, lasts in last_of.items())
