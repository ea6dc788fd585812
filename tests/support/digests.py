"""Digests of the files of a folder."""

import hashlib
from pathlib import Path


def digest(folder) -> dict:
    """Map each file's name to a hash of its content."""
    files = sorted(p for p in Path(folder).rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
