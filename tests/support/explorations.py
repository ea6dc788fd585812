"""Explorations of small shards, and what their views sent to the browser."""

from __future__ import annotations

import json

import laion_dask as ld
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.jobs import Jobs
from laion_dask.explorer.sample import draw_sample
from support.shards import laion_table, write_shard


def exploration_of(folder, table=None, **options) -> Exploration:
    """An exploration of one shard."""
    table = laion_table(400) if table is None else table
    path = write_shard(folder / "0.parquet", table)
    return Exploration(draw_sample(ld.read_shards([path]), **options))


def select_similar(exploration: Exploration, low: float = 0.3) -> int:
    """Select the rows with a similarity of at least ``low``; their number in the sample."""
    exploration.selection.set("similarity", NumberRange("similarity", low, None))
    return exploration.selection.n


def finish(jobs: Jobs) -> None:
    """Wait for all jobs, also for those that results start, and deliver their results."""
    job = None
    while jobs.waiting or jobs.current is not job:
        job = jobs.current
        job.wait(60)


def state_of(view) -> dict:
    """The state that a view's component draws."""
    return json.loads(view.panel.state)
