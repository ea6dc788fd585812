"""An allocator that fails on command, for torch on the CPU."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Full(TorchDispatchMode):
    """While inside, in this thread, torch has no room for a tensor of more than so many bytes.

    Attributes
    ----------
    failures : int
        How often it said so.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.failures = most, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if _has(t)}
        made = func(*args, **(kwargs or {}))
        for tensor in filter(_has, tree_leaves(made)):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in given and storage.nbytes() > self.most:
                self.failures += 1
                raise torch.OutOfMemoryError(
                    f"CUDA out of memory. Tried to allocate {storage.nbytes()} bytes."
                )
        return made


def _has(leaf) -> bool:
    return isinstance(leaf, torch.Tensor)
