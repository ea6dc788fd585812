"""A torch CPU allocator that fails on demand."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Full(TorchDispatchMode):
    """Make torch fail to allocate more than ``most`` bytes in this thread, inside the context.

    Attributes
    ----------
    failures : int
        Number of failed allocations.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.failures = most, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        inputs = {
            t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if _is_tensor(t)
        }
        result = func(*args, **(kwargs or {}))
        for tensor in filter(_is_tensor, tree_leaves(result)):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in inputs and storage.nbytes() > self.most:
                self.failures += 1
                raise torch.OutOfMemoryError(
                    f"CUDA out of memory. Tried to allocate {storage.nbytes()} bytes."
                )
        return result


def _is_tensor(leaf) -> bool:
    return isinstance(leaf, torch.Tensor)
