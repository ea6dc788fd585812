"""How workers start, how a running cluster is joined, and how a lost worker is replaced."""

from laion_dask.cluster.client import Client
from laion_dask.cluster.connect import connect
from laion_dask.cluster.start import start_cluster

__all__ = ["Client", "connect", "start_cluster"]
