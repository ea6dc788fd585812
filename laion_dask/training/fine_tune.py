"""Fine-tune a whole CLIP model on images and captions, with open_clip's own training."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from laion_dask.errors import MissingExtraError, OptionError, WeightsError, must_be
from laion_dask.extras import is_installed, require_extra
from laion_dask.models import ClipModel, as_clip
from laion_dask.models.clip_loading import config_file, require_file
from laion_dask.stats.checks import check_integer
from laion_dask.training.fine_tune_data import check_files, most_workers, source_of

#: The file of the result in its folder.
FILE = "model.safetensors"
_LOGS = "open_clip"


def fine_tune_clip(
    data: str | os.PathLike,
    out: str | os.PathLike,
    clip: ClipModel | str,
    *,
    n_pairs: int | None = None,
    epochs: int = 1,
    batch: int = 256,
    rate: float = 1e-5,
    workers: int = 4,
    seed: int = 0,
    device: str = "cuda",
    arguments: Sequence[str] = (),
) -> ClipModel:
    """A CLIP model after further training on trusted pairs, as open_clip trains it. Eager.

    This is the full data filtering network of Fang et al. (2024): fine-tune a model on trusted
    images and captions, `embed` the pool with it, and filter by its CLIP score. It needs a GPU for
    anything but a test, and the package webdataset. It calls ``open_clip_train.main.main`` in this
    process, on one device; on several, start ``torchrun -m open_clip_train.main`` with
    `fine_tune_arguments`, and webdataset before 1.0, as open_clip 3.3 demands.

    Parameters
    ----------
    data : path
        A webdataset, as the name pattern ``"export/{00000..00041}.tar"`` or a folder of ``.tar``
        files, with an image and a ``.txt`` per sample; or a ``.csv`` file with the columns
        ``filepath`` and ``title``.
    out : path
        A new or empty folder. Receives ``model.safetensors``, and open_clip's logs and checkpoints.
    clip : ClipModel or str
        The model to start from, such as ``"ViT-B-32:openai"``; its weights must be on this machine.
    n_pairs : int, optional
        Number of pairs in an epoch; required for a webdataset, whose size open_clip does not count.
    epochs, batch, rate, workers, seed
        Of open_clip: ``--epochs``, ``--batch-size``, ``--lr``, ``--workers`` and ``--seed``. At
        most one worker for each ``.tar`` file, and for each batch of an epoch.
    device : str
        ``"cuda"``, ``"cuda:1"``, or ``"cpu"`` for a test. The precision is ``amp`` on a GPU.
    arguments : sequence of str
        Further arguments of open_clip, such as ``("--precision", "amp", "--grad-checkpointing")``.

    Returns
    -------
    ClipModel
        With the weights of the last epoch.

    Raises
    ------
    OptionError
        Immediately, when an argument is out of range, the data do not exist, ``out`` is not empty,
        there is no such device, or fewer pairs than a batch.
    MissingExtraError
        When webdataset is not installed.
    WeightsError
        When the weights to start from are missing, or open_clip wrote no checkpoint,
        or found no full batch of pairs.

    Examples
    --------
    >>> import laion_dask as ld
    >>> try:
    ...     ld.fine_tune_clip("export/{00000..00041}.tar", "dfn", "demo", n_pairs=400_000)
    ... except ld.LaionDaskError:
    ...     print("It needs a GPU, and the files.")
    It needs a GPU, and the files.
    """
    given = fine_tune_arguments(
        data, out, clip, n_pairs=n_pairs, epochs=epochs, batch=batch, rate=rate, workers=workers,
        seed=seed, device=device, arguments=arguments,
    )  # fmt: skip
    folder, model = Path(out), as_clip(clip)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OptionError(f"out is {folder}, which is not an empty folder. Name a new one.")
    check_files(os.fspath(data))
    _require_training()
    import open_clip
    import torch
    from open_clip_train.main import main

    if device != "cpu" and not torch.cuda.is_available():
        raise OptionError(
            f"device is {device!r}, and torch finds no GPU. Expected a machine with one; for a "
            "test of a few steps, give the device 'cpu'."
        )
    open_clip.add_model_config(config_file(model.arch))
    folder.mkdir(parents=True, exist_ok=True)
    with _own_logging(), _shards_without_ends(), torch.random.fork_rng():
        main(given)
    checkpoint = folder / _LOGS / "checkpoints" / f"epoch_{epochs}.pt"
    return ClipModel(model.arch if model.arch != "demo" else str(config_file("demo")),
                     _converted(checkpoint, folder / FILE))  # fmt: skip


def fine_tune_arguments(
    data: str | os.PathLike,
    out: str | os.PathLike,
    clip: ClipModel | str,
    *,
    n_pairs: int | None = None,
    epochs: int = 1,
    batch: int = 256,
    rate: float = 1e-5,
    workers: int = 4,
    seed: int = 0,
    device: str = "cuda",
    arguments: Sequence[str] = (),
) -> list[str]:
    """The arguments of ``open_clip_train.main`` for `fine_tune_clip`. Eager.

    Parameters
    ----------
    data, out, clip, n_pairs, epochs, batch, rate, workers, seed, device, arguments
        As for `fine_tune_clip`.

    Raises
    ------
    OptionError, WeightsError
        As for `fine_tune_clip`.

    Examples
    --------
    >>> import laion_dask as ld
    >>> given = ld.fine_tune_arguments("pairs/{00..41}.tar", "dfn", "demo", n_pairs=400_000)
    >>> given[given.index("--dataset-type") + 1]
    'webdataset'
    """
    for name, value, low in (
        ("epochs", epochs, 1), ("batch", batch, 1), ("workers", workers, 0), ("seed", seed, 0),
        ("n_pairs", 1 if n_pairs is None else n_pairs, 1),
    ):  # fmt: skip
        check_integer(name, value, low)
    number = isinstance(rate, (int, float, np.number)) and not isinstance(rate, bool)
    if not (number and 0 < rate < np.inf):
        raise OptionError(f"rate is {rate!r}. Expected a number above 0, such as 1e-5.")
    must_be("device", device, str, "'cuda' or 'cpu'")
    must_be("data", data, (str, os.PathLike), "the path of a .csv file, or of .tar files")
    must_be("out", out, (str, os.PathLike), "the path of a folder")
    require_extra("clip", "Fine-tuning a CLIP model")
    model, out = as_clip(clip), Path(out)
    kind, source, n_files = source_of(os.fspath(data))
    if kind == "webdataset":
        workers = min(workers, most_workers(n_files, n_pairs, batch))
    given = {
        "--train-data": source,
        "--dataset-type": kind,
        "--model": config_file(model.arch).stem,
        "--pretrained": str(require_file(model.arch, model.pretrained)),
        "--logs": str(out),
        "--name": _LOGS,
        "--epochs": epochs,
        "--batch-size": batch,
        "--lr": rate,
        "--workers": workers,
        "--seed": seed,
        "--save-frequency": epochs,
        "--device": device,
        "--precision": "fp32" if device == "cpu" else "amp",
    }
    if kind == "csv":
        given |= {"--csv-separator": ",", "--csv-img-key": "filepath", "--csv-caption-key": "title"}
    else:
        assert n_pairs is not None  # checked above
        given["--train-num-samples"] = n_pairs
    return [*(str(part) for pair in given.items() for part in pair), *map(str, arguments)]


def _require_training() -> None:
    """Raise unless open_clip's training can be imported."""
    for module, package in (("open_clip_train", "open_clip_torch"), ("webdataset", "webdataset")):
        if not is_installed(module):
            raise MissingExtraError(
                f"Fine-tuning needs {module}, which is not installed. Install it with: "
                f"pip install {package}"
            )


@contextmanager
def _shards_without_ends() -> Iterator[None]:
    """Hide the empty dicts with which webdataset 1.0 ends a shard, and on which open_clip fails."""
    from open_clip_train import data

    expanded = data.tar_file_expander

    def files(*args, **options):
        return (file for file in expanded(*args, **options) if file)

    data.tar_file_expander = files
    try:
        yield
    finally:
        data.tar_file_expander = expanded


@contextmanager
def _own_logging() -> Iterator[None]:
    """Restore the root logger, whose handlers and level open_clip sets."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in logging.root.manager.loggerDict}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="torch")  # hints about open_clip's own code
            yield
    finally:
        for handler in [handler for handler in root.handlers if handler not in handlers]:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)


def _converted(checkpoint: Path, target: Path) -> str:
    """Write the model of a checkpoint as safetensors; return the path."""
    import torch
    from safetensors.torch import save_file

    if not checkpoint.is_file():
        raise WeightsError(
            f"open_clip wrote no checkpoint {checkpoint}. Expected one after the last epoch; "
            f"its log is {checkpoint.parent.parent / 'out.log'}."
        )
    loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if not loaded["optimizer"]["state"]:
        raise WeightsError(
            "open_clip found no full batch of images and captions, and took no step. Expected "
            "members such as 0.jpg and 0.txt next to each other in the .tar files; or lower batch. "
            f"Its log is {checkpoint.parent.parent / 'out.log'}."
        )
    state = loaded["state_dict"]
    tensors = {name.removeprefix("module."): value.contiguous() for name, value in state.items()}
    save_file(tensors, target, metadata={"format": "pt"})
    return str(target)
