"""Cluster embeddings, and prune clusters by the complexity of their concepts."""
