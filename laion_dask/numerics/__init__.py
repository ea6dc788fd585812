"""Arithmetic of embeddings on the CPU: dot products, normalization, threads."""
