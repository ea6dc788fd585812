"""Groups of rows: by a column, by terms in the caption, by domain or language."""
