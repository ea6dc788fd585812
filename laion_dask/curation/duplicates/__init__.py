"""Find duplicates: equal values, similar captions, similar images, close embeddings."""
