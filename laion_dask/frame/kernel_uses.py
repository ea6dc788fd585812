"""Find the kernels of this package in a frame's graph, with the arguments of each use."""

from __future__ import annotations

import dask.dataframe as dd

from laion_dask.frame.provenance import arguments_of_type
from laion_dask.frame.row_path import is_verb
from laion_dask.runtime.dask_expressions import MapPartitions, new_collection


def kernel_uses(frame: dd.DataFrame) -> list[tuple[dd.DataFrame, list[object]]]:
    """Every use of a kernel of this package in a frame's graph, the last step first.

    Returns
    -------
    list of (dask DataFrame, list)
        The frame that the kernel is applied to, and its other arguments. Shared arguments are
        unwrapped, lists are flattened, and frames are omitted.
    """
    uses = {
        node._name: (new_collection(node.frame), arguments_of_type(node.args[1:], object))
        for node in frame.expr.walk()
        if isinstance(node, MapPartitions) and is_verb(node)
    }
    return list(uses.values())
