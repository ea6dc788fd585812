"""Load a CLIP model from its spec: locate its files, and load it with open_clip once per process.

Nothing is downloaded: weights are only read from local files, and open_clip is called with the hub
client switched off. A missing file raises a ``WeightsError`` that says where it belongs.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from laion_dask.errors import OptionError, WeightsError, argument, parameter
from laion_dask.extras import require_extra
from laion_dask.models import weights
from laion_dask.models.clip_runtime import LoadedClip
from laion_dask.models.hf_text_tower import require_text_tower
from laion_dask.options import is_watched
from laion_dask.runtime.process_cache import ProcessCache
from laion_dask.runtime.progress import ProgressBar

_HERE = Path(__file__).parent
DEMO_CONFIG = _HERE / "demo" / "laion-dask-demo.json"
DEMO_WEIGHTS = _HERE / "demo" / "laion-dask-demo.safetensors"

_KINDS = (".safetensors", ".pt", ".pth", ".bin")
_loaded = ProcessCache()
_open_clip_lock = threading.RLock()


@cache
def built_in_configs() -> dict[str, Path]:
    """open_clip's own architectures, name to configuration file; does not import open_clip."""
    require_extra("clip", "A CLIP model by name")
    spec = find_spec("open_clip")
    assert spec is not None and spec.submodule_search_locations  # the extra is installed
    folder = Path(spec.submodule_search_locations[0]) / "model_configs"
    return {file.stem: file for file in sorted(folder.glob("*.json"))}


def config_file(arch: str) -> Path:
    """The configuration file of ``"demo"``, of a ``.json`` path, or of a built-in architecture."""
    if arch == "demo":
        return DEMO_CONFIG
    return Path(arch) if arch.endswith(".json") else built_in_configs()[arch]


def read_config(arch: str) -> dict:
    """A configuration in open_clip's format: ``embed_dim``, ``vision_cfg``, ``text_cfg``.

    Raises
    ------
    WeightsError
        When the file is missing or is not such a configuration.
    """
    file = config_file(arch)
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        if not {"embed_dim", "vision_cfg", "text_cfg"} <= set(config):
            raise ValueError("embed_dim, vision_cfg or text_cfg is missing")
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{file} is not a CLIP configuration ({error}). Expected a JSON file as in "
            "open_clip's model_configs, with embed_dim, vision_cfg and text_cfg."
        ) from error
    return config


def weight_file(arch: str, pretrained: str | None) -> Path | None:
    """The local file of a model's weights, or ``None`` if there is none. Eager.

    ``pretrained`` is a path, or a tag of open_clip. For a tag, these are searched in order:
    ``<arch>-<tag>.safetensors`` (``.pt``, ``.pth``, ``.bin``) in the folders of
    ``laion_dask.models.weights``, the published file name in the same folders, and the caches of
    open_clip and the hub client, which hold earlier downloads.
    """
    if arch == "demo":
        return DEMO_WEIGHTS if DEMO_WEIGHTS.is_file() else None
    if pretrained is None:
        return None
    if is_path(pretrained):
        return Path(pretrained) if Path(pretrained).is_file() else None
    names = [f"{arch}-{pretrained}{kind}" for kind in _KINDS]
    published = _published(arch, pretrained)
    address = published.get("url", "")
    folders = list(weights.folders())
    if address:
        names.append(address.rsplit("/", 1)[-1])
        folders.append(Path(os.path.expanduser("~/.cache/clip")))
    candidates = (folder / name for folder in folders for name in names)
    return next((f for f in candidates if f.is_file()), None) or _in_hub_cache(published)


def is_path(pretrained: str) -> bool:
    """Whether ``pretrained`` names a file rather than a tag of open_clip."""
    return pretrained.endswith((*_KINDS, ".npy", ".npz")) or "/" in pretrained


def _published(arch: str, tag: str) -> dict:
    from open_clip.pretrained import get_pretrained_cfg

    return get_pretrained_cfg(arch, tag)


def _in_hub_cache(published: dict) -> Path | None:
    if not published.get("hf_hub"):
        return None
    from huggingface_hub import try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    repo, _, name = published["hf_hub"].rpartition("/")
    names = [name] if name else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
    cached = (try_to_load_from_cache(repo, file) for file in names)
    return next((Path(f) for f in cached if isinstance(f, str)), None)


def _missing(arch: str, pretrained: str | None) -> WeightsError:
    if arch == "demo":
        return WeightsError(
            f"The bundled model's weights {DEMO_WEIGHTS.name} are not in {DEMO_WEIGHTS.parent}. "
            "Reinstall the package; its data files are incomplete."
        )
    if pretrained is None:
        return WeightsError(
            f"ClipModel({arch!r}) names an architecture without weights. It can be compared with "
            f"other models, but not run. Give {argument('pretrained')} as a path "
            "to a weight file or as one of open_clip's tags."
        )
    if is_path(pretrained):
        return WeightsError(f"The weight file {pretrained} does not exist. Check the path.")
    from open_clip.pretrained import list_pretrained_tags_by_model

    tags = list_pretrained_tags_by_model(arch)
    if not _published(arch, pretrained):
        return WeightsError(
            f"{parameter('pretrained')} is {pretrained!r}, which is neither a tag of {arch} nor a "
            f"file. Expected a path or one of: {', '.join(tags) or 'none is published'}."
        )
    published = _published(arch, pretrained)
    hub = published.get("hf_hub", "").strip("/")  # open_clip prefers it, as safetensors
    address = f"https://huggingface.co/{hub}" if hub else published["url"]
    return WeightsError(
        f"The weights {arch!r}, {pretrained!r} are not on this machine, and nothing is downloaded "
        f"unless requested. Save the file from {address} as {arch}-{pretrained}.safetensors (or "
        f".pt) in {weights.folders()[0]}; or let open_clip download it once, with "
        f"`open_clip.create_model({arch!r}, {pretrained!r})`, and it will be found in its cache."
    )


def require_file(arch: str, pretrained: str | None) -> Path:
    """As ``weight_file``, but raises for a missing file or an unsupported kind.

    Raises
    ------
    WeightsError
        The message says which file to put where.
    """
    file = weight_file(arch, pretrained)
    if file is None:
        raise _missing(arch, pretrained)
    if file.suffix not in _KINDS:
        raise WeightsError(f"{file} is not loaded. Expected one of: {', '.join(_KINDS)}.")
    return file


def loading_bar(arch: str) -> ProgressBar:
    """A progress bar for the time that importing torch and reading weights may take."""
    return ProgressBar(
        desc=f"load {arch}",
        bar_format="{desc}: {elapsed}",
        delay=0.5,
        leave=False,
        disable=not is_watched(),
    )


def load(arch: str, pretrained: str | None, device: str, precision: str) -> LoadedClip:
    """The model in memory, loaded once per process and shared by its threads. Eager.

    Raises
    ------
    WeightsError
        When the weights are missing, damaged, or those of another architecture.
    """
    key = (arch, pretrained, device, precision)
    return _loaded.get(key, lambda: _load(*key))


def _load(arch: str, pretrained: str | None, device: str, precision: str) -> LoadedClip:
    require_extra("clip", f"Loading the CLIP model {arch}")
    file = require_file(arch, pretrained)
    require_text_tower(arch, read_config(arch))
    settings = {"force_quick_gelu": None}
    if pretrained and not is_path(pretrained):
        published = _published(arch, pretrained)
        # Since open_clip 3 the tag alone does not switch the activation; it only causes a warning.
        settings["force_quick_gelu"] = published.get("quick_gelu", False)
        for name in ("mean", "std", "interpolation", "resize_mode"):
            settings[f"image_{name}"] = published.get(name)
    try:
        with _open_clip_lock, _offline(), _unlogged():
            return LoadedClip(_registered(arch), file, device, precision, settings)
    except (OptionError, WeightsError):
        raise
    except Exception as error:  # of pickle, torch or a tokenizer: any type
        raise WeightsError(
            f"{file} cannot be loaded into {arch} ({type(error).__name__}: {str(error)[:300]}). "
            "Expected the state dict of that architecture as safetensors or a weights-only "
            "PyTorch file."
        ) from error


def _registered(arch: str) -> str:
    """The name by which open_clip knows the architecture; registers our own configurations."""
    import open_clip

    file, config = config_file(arch), read_config(arch)
    if arch in built_in_configs():
        return arch
    if file.stem in built_in_configs():
        raise OptionError(
            f"{file} has the name of open_clip's own architecture {file.stem!r}. Rename the file."
        )
    if open_clip.get_model_config(file.stem) != config:
        open_clip.add_model_config(file)
    return file.stem


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep open_clip's first log message from configuring the root logger.

    ``logging.info`` adds a handler to a root logger without one, which would then print what Dask's
    schedulers log.
    """
    root, stand_in = logging.getLogger(), logging.NullHandler()
    root.addHandler(stand_in)
    try:
        yield
    finally:
        root.removeHandler(stand_in)


@contextmanager
def _offline() -> Iterator[None]:
    """Make the hub client refuse every request immediately, instead of retrying."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
