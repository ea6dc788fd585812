"""Paths of the repository and of the folder of real inputs next to it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "laion_dask"
#: Real inputs, published weights and reference answers; may be absent.
SHARED = ROOT.parent / "shared"
