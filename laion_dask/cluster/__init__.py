"""Starting workers, connecting to a running cluster, and replacing lost workers."""

from laion_dask.cluster.client import Client
from laion_dask.cluster.connect import connect
from laion_dask.cluster.start import start_cluster

__all__ = ["Client", "connect", "start_cluster"]
