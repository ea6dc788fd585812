"""Reading and writing files: storage, Parquet shards, embeddings, images."""
