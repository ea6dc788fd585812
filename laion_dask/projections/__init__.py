"""Projections of embeddings to two dimensions, and polygons in them."""
