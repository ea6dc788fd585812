"""Nearest-neighbor search over embeddings, exact or with an approximate index."""
