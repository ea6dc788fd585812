"""Balance a data set by the concepts that captions mention."""
