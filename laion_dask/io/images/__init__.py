"""Images: tars, Parquet files and folders, read as samples."""
