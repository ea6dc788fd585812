"""Embeddings: files of vectors, paired with shards by key and read by row."""
