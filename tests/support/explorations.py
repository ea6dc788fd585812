"""Explorations of small shards, and what their views sent to the browser."""

from __future__ import annotations

import json

import laion_dask as ld
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.sample import draw_sample
from support.shards import laion_table, write_shard


def exploration_of(folder, table=None, **options) -> Exploration:
    """An exploration of one shard."""
    table = laion_table(400) if table is None else table
    path = write_shard(folder / "0.parquet", table)
    return Exploration(draw_sample(ld.read_shards([path]), **options))


def state_of(view) -> dict:
    """The state that a view's component draws."""
    return json.loads(view.panel.state)
