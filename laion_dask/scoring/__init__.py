"""Scores as new columns: similarity, heads over embeddings, classifiers of captions."""
