"""Fitting a head on labelled embeddings."""
