"""The command ``laion-dask``: one-line forwards to the package, with progress and exit codes.

Exit codes: 0 done, 1 the data or the folder would not do (the message says why), 2 the command
was called wrongly, 130 cancelled. Commands import what they run when they run.
"""

from laion_dask.cli import analyze, embeddings, export, models
from laion_dask.cli.app import app, main

__all__ = ["analyze", "app", "embeddings", "export", "main", "models"]
