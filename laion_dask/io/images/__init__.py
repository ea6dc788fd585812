"""Read images as samples from webdataset tars, Parquet files and folders."""
