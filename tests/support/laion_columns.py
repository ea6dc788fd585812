"""Rows with LAION-5B's columns, numbered so that they differ."""

from __future__ import annotations

import pyarrow as pa


def laion_columns(n: int, start: int = 0) -> dict[str, pa.Array]:
    """Return ``n`` rows of LAION-5B's columns, numbered from ``start``."""
    numbers = range(start, start + n)
    return {
        "URL": pa.array([f"https://example.org/{i}.jpg" for i in numbers], pa.string()),
        "TEXT": pa.array([f"bird number {i}" if i % 2 else f"boat {i}" for i in numbers]),
        "WIDTH": pa.array([100 + i for i in numbers], pa.int32()),
        "HEIGHT": pa.array([200 + i for i in numbers], pa.int32()),
        "similarity": pa.array([i % 10 / 10 for i in numbers], pa.float32()),
        "hash": pa.array([(-1) ** i * (2**63 - 1 - i) for i in numbers], pa.int64()),
        "punsafe": pa.array([i % 7 / 7 for i in numbers], pa.float32()),
        "pwatermark": pa.array([i % 3 / 3 for i in numbers], pa.float32()),
    }
