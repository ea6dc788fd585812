"""Read tensors from weight files, in formats that cannot run code."""

from __future__ import annotations

import os
import re
from pathlib import Path

from laion_dask.errors import WeightsError
from laion_dask.extras import require_extra

#: The first torch whose ``weights_only=True`` is safe: in earlier versions a crafted file could
#: corrupt memory (CVE-2026-24747, GHSA-63cw-57p8-fm3p).
SAFE_TORCH = (2, 10)

#: Keys under which training scripts store the state dict beside an epoch or an optimizer.
_INNER = ("state_dict", "model_state_dict", "model")
#: Prefixes of the names in a state dict whose network was wrapped.
_WRAPPERS = ("module.", "model.")

#: torch's message for a callable in a pickle.
_CALLED = re.compile(r"GLOBAL (\S+)")


def read_tensors(path: str | os.PathLike) -> dict:
    """The tensors of a weight file, on the CPU, by name. Eager.

    A state dict may be stored under ``state_dict``, ``model_state_dict`` or ``model`` of a larger
    dict, beside numbers and texts such as an epoch, which are ignored. A prefix ``module.`` or
    ``model.`` that all names share is removed.

    Parameters
    ----------
    path : str or path
        ``.safetensors``; ``.npy`` (one tensor, named ``"array"``); ``.pt``, ``.pth`` or ``.bin``,
        read with ``weights_only=True``.

    Returns
    -------
    dict of str to torch.Tensor

    Raises
    ------
    WeightsError
        When the file is missing, damaged, of an unsupported format, or contains anything but
        tensors of finite real numbers; for a pickle also when torch is older than 2.10.
    """
    path = Path(path)
    require_extra("clip", f"Reading the weights {path.name}")
    try:
        tensors = _read_by_kind(path)
    except WeightsError:
        raise
    except Exception as error:  # the three readers raise different types
        called = _CALLED.search(str(error))
        problem = f"it holds code: {called[1]}" if called else type(error).__name__
        raise WeightsError(
            f"{path} cannot be read as weights ({problem}). Expected a file with "
            "tensors only; files with pickled code are never loaded. Download it "
            "again from its publisher, or convert it to safetensors."
        ) from error
    return _only_tensors(path, tensors)


def _read_by_kind(path: Path) -> dict:
    import torch

    match path.suffix:
        case ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        case ".npy":
            import numpy as np

            with open(path, "rb") as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
            return {"array": torch.from_numpy(array)}
        case ".pt" | ".pth" | ".bin":
            _check_torch(path)
            return torch.load(path, map_location="cpu", weights_only=True)
    raise WeightsError(
        f"{path} has an unsupported format. Expected .safetensors, .npy, .pt, .pth or .bin."
    )


def _check_torch(path: Path) -> None:
    import torch

    # A TorchVersion can be compared with tuples; its type stub does not declare this.
    if torch.__version__ < SAFE_TORCH:  # type: ignore[operator]
        raise WeightsError(
            f"{path} is a pickle, and one can make torch {torch.__version__} run code, "
            "even with weights_only=True (CVE-2026-24747). Install torch 2.10 or later, or "
            "convert the file to safetensors elsewhere."
        )


def _only_tensors(path: Path, tensors) -> dict:
    import torch

    by_name = {}
    if isinstance(tensors, dict):
        inner = (tensors[key] for key in _INNER if isinstance(tensors.get(key), dict))
        plain = (bool, int, float, str, type(None))
        state = next(inner, tensors)
        by_name = {name: value for name, value in state.items() if not isinstance(value, plain)}
    if not by_name or not all(
        isinstance(name, str) and isinstance(t, torch.Tensor) for name, t in by_name.items()
    ):
        raise WeightsError(
            f"{path} holds a {type(tensors).__name__}. Expected a dict of tensors: save the "
            "model's state_dict() instead."
        )
    for name, tensor in by_name.items():
        _check_numbers(path, name, tensor)
    for wrapper in _WRAPPERS:
        if all(name.startswith(wrapper) for name in by_name):
            return {name.removeprefix(wrapper): tensor for name, tensor in by_name.items()}
    return by_name


def _check_numbers(path: Path, name: str, tensor) -> None:
    """Raise unless all values of a tensor are real numbers within the range of float32."""
    import torch

    problem = None
    if tensor.layout != torch.strided:
        problem = "is sparse"
    elif tensor.is_meta:
        problem = "has no values (it is on the device 'meta')"
    elif tensor.is_quantized:
        problem = "is quantized"
    elif tensor.is_complex():
        problem = "is complex"
    elif tensor.is_floating_point() and tensor.numel():
        low, high = (float(end) for end in torch.aminmax(tensor.detach().double()))
        if not max(-low, high) <= torch.finfo(torch.float32).max:  # also False for NaN
            problem = "has a number that is NaN, infinite or beyond float32"
    if problem is not None:
        raise WeightsError(
            f"{path}: the tensor {name!r} {problem}. Expected finite real numbers, stored plainly. "
            "Download the file again from its publisher."
        )
