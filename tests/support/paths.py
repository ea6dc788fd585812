"""Where the repository and the folder of real inputs beside it are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "laion_dask"
#: Real inputs, published weights and reference answers; may be absent.
SHARED = ROOT.parent / "shared"
