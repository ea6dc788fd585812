"""Fit a head on labeled embeddings."""
