"""From images and texts to embeddings."""
