"""Parquet shards: footers, schemas, and the scans that read them."""
