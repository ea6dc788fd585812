"""The only door to Dask: graphs, tasks, workers, and progress."""
