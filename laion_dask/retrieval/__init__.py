"""Nearest-neighbor search over embeddings: exact, or by an approximate index."""
