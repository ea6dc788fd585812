"""The demo corpus of the tests, kept by a hash of what it is made by."""

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

#: What `demo_corpus` runs. `laion_dask.demo.job` itself also imports every report, for its `run`.
_STARTS = ("laion_dask.demo.corpus", "laion_dask.inference.embed", "laion_dask.models")
_LIBRARIES = ("numpy", "open_clip_torch", "pandas", "pillow", "pyarrow", "torch", "torchvision")
_KEPT_SECONDS = 7 * 24 * 3600


@contextmanager
def cached_demo_corpus(
    config: pytest.Config, tmp_path_factory: pytest.TempPathFactory, n_images: int
) -> Iterator[Path]:
    """Yield the folder of a demo corpus that no test may change; generated where there is none.

    Each process generates into a folder of its own and renames it, so that processes may race.

    Raises
    ------
    AssertionError
        On leaving, if a file of the corpus was changed.
    """
    cache = _cache_folder(config, tmp_path_factory)
    kept = cache / f"{_digest_of_sources()}-{n_images}"
    if not _is_whole(kept):
        _generate(kept, tmp_path_factory.mktemp("demo") / "corpus", n_images)
    yield kept / "demo-corpus"
    assert _is_whole(kept), f"a test changed the demo corpus that all tests share, in {kept}"


def _cache_folder(config: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return pytest's cache of this checkout, or a folder of this run without such a cache."""
    cache = getattr(config, "cache", None)
    if cache is not None:
        try:
            return cache.mkdir("demo-corpora")
        except OSError:  # a checkout that may only be read
            pass
    workers_share = tmp_path_factory.getbasetemp()
    if hasattr(config, "workerinput"):
        workers_share = workers_share.parent
    folder = workers_share / "demo-corpora"
    folder.mkdir(exist_ok=True)
    return folder


def _generate(kept: Path, scratch: Path, n_images: int) -> None:
    from laion_dask.demo.job import demo_corpus

    for old in kept.parent.iterdir():
        if old != kept and time.time() - old.stat().st_mtime > _KEPT_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
    if kept.exists():  # and is not whole
        shutil.rmtree(kept, ignore_errors=True)
    demo_corpus(scratch / "demo-corpus", n_images=n_images)
    (scratch / "files.json").write_text(json.dumps(_files(scratch / "demo-corpus")))
    # On another file system a rename is a copy; copy beside the target, then rename.
    beside = kept.with_name(f".{kept.name}-{time.time_ns()}")
    shutil.copytree(scratch, beside)
    try:
        beside.rename(kept)
    except OSError:  # another process was first
        shutil.rmtree(beside)
        assert _is_whole(kept)


def _files(corpus: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in a folder, by its relative path."""
    return {
        path.relative_to(corpus).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(corpus.rglob("*"))
        if path.is_file()
    }


def _is_whole(kept: Path) -> bool:
    try:
        files = json.loads((kept / "files.json").read_text())
    except (OSError, ValueError):
        return False
    return files == _files(kept / "demo-corpus")


def _digest_of_sources() -> str:
    """Hash every module of the package that a corpus is made by, its data, and the libraries."""
    digest = hashlib.sha256(repr(sys.version_info[:2]).encode())
    for library in _LIBRARIES:
        digest.update(f"{library} {version(library)}".encode())
    data = {path for path in PACKAGE.rglob("*.*") if path.suffix not in (".py", ".pyc", ".pyi")}
    for path in sorted(_imported_from(_STARTS) | data):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _imported_from(starts: tuple[str, ...]) -> set[Path]:
    """Return the files of these modules and of all of the package that they import, wherever."""
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
    """Return the file of a module of this package; None for a library, a name or the root."""
    root, *parts = module.split(".")
    if root != PACKAGE.name or not parts:
        return None
    path = PACKAGE.joinpath(*parts)
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)
