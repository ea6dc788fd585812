"""Compute embeddings of images and texts."""
