"""The command ``laion-dask``: one-line forwards to the package, with progress and exit codes.

Exit codes: 0 success, 1 invalid data or folder (the message explains), 2 invalid arguments, 130
canceled. Commands import their dependencies when they run.
"""

from laion_dask.cli import analyze, carve, embeddings, explore, export, models
from laion_dask.cli.app import app, main

__all__ = ["analyze", "app", "carve", "embeddings", "explore", "export", "main", "models"]
