"""Select the rows of a subset: samples, removal lists, duplicates, pruning, recipes."""
