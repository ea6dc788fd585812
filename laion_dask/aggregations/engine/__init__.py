"""One pass over a frame for any number of statistics: chunk, combine, finalize."""
