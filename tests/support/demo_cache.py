"""The tests' demo corpus, cached under a hash of everything that determines its content."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest

from support.paths import PACKAGE

#: The modules that `demo_corpus` runs. `laion_dask.demo.job` is not one: it also imports all
#: reports.
_STARTS = ("laion_dask.demo.corpus", "laion_dask.inference.embed", "laion_dask.models")
_LIBRARIES = ("numpy", "open_clip_torch", "pandas", "pillow", "pyarrow", "torch", "torchvision")
_KEPT_SECONDS = 7 * 24 * 3600


@contextmanager
def cached_demo_corpus(
    config: pytest.Config, tmp_path_factory: pytest.TempPathFactory, n_images: int
) -> Iterator[Path]:
    """Yield the folder of a demo corpus that no test may modify; generate it if it is not cached.

    Each process generates into its own folder and then renames it, so races are harmless.

    Raises
    ------
    AssertionError
        On exit, if a file of the corpus was modified.
    """
    cache = _cache_folder(config, tmp_path_factory)
    cached = cache / f"{_digest_of_sources()}-{n_images}"
    if not _is_complete(cached):
        _generate(cached, tmp_path_factory.mktemp("demo") / "corpus", n_images)
    yield cached / "demo-corpus"
    assert _is_complete(cached), f"a test modified the shared demo corpus in {cached}"


def _cache_folder(config: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return pytest's cache of this checkout, or a folder of this run if caching is disabled."""
    cache = getattr(config, "cache", None)
    if cache is not None:
        try:
            return cache.mkdir("demo-corpora")
        except OSError:  # a read-only checkout
            pass
    workers_share = tmp_path_factory.getbasetemp()
    if hasattr(config, "workerinput"):
        workers_share = workers_share.parent
    folder = workers_share / "demo-corpora"
    folder.mkdir(exist_ok=True)
    return folder


def _generate(cached: Path, scratch: Path, n_images: int) -> None:
    from laion_dask.demo.job import demo_corpus

    for old in cached.parent.iterdir():
        if old != cached and time.time() - old.stat().st_mtime > _KEPT_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
    if cached.exists():  # but is incomplete
        shutil.rmtree(cached, ignore_errors=True)
    demo_corpus(scratch / "demo-corpus", n_images=n_images)
    (scratch / "files.json").write_text(json.dumps(_files(scratch / "demo-corpus")))
    # Across file systems a rename is a copy, so copy next to the target first, then rename.
    temporary = cached.with_name(f".{cached.name}-{time.time_ns()}")
    shutil.copytree(scratch, temporary)
    try:
        temporary.rename(cached)
    except OSError:  # another process was faster
        shutil.rmtree(temporary)
        assert _is_complete(cached)


def _files(corpus: Path) -> dict[str, str]:
    """Map the relative path of every file in a folder to its SHA-256."""
    return {
        path.relative_to(corpus).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(corpus.rglob("*"))
        if path.is_file()
    }


def _is_complete(cached: Path) -> bool:
    try:
        files = json.loads((cached / "files.json").read_text())
    except (OSError, ValueError):
        return False
    return files == _files(cached / "demo-corpus")


def _digest_of_sources() -> str:
    """Hash the modules that generate a corpus, the package's data files and library versions."""
    digest = hashlib.sha256(repr(sys.version_info[:2]).encode())
    for library in _LIBRARIES:
        digest.update(f"{library} {version(library)}".encode())
    data = {path for path in PACKAGE.rglob("*.*") if path.suffix not in (".py", ".pyc", ".pyi")}
    for path in sorted(_imported_from(_STARTS) | data):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _imported_from(starts: tuple[str, ...]) -> set[Path]:
    """Return the files of these modules and of all package modules they import, recursively."""
    found, waiting = set(), list(starts)
    while waiting:
        path = _file_of(waiting.pop())
        if path is None or path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
    return found


def _file_of(module: str) -> Path | None:
    """Return the file of a module of this package; None for libraries, other names and the root."""
    root, *parts = module.split(".")
    if root != PACKAGE.name or not parts:
        return None
    path = PACKAGE.joinpath(*parts)
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)
