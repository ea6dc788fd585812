"""Pages: the datasheet of a data set, the report of an export, the gallery."""
