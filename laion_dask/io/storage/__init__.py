"""Find, lock, and atomically replace files and folders, locally and in every fsspec store."""
