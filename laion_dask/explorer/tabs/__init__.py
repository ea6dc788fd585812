"""The tabs of the explorer: sets of rows by hand, bias, comparisons, export."""
