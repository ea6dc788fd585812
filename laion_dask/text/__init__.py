"""Terms in captions: versioned lists, and the scan that finds them all at once."""

from laion_dask.text.grouping import Terms, terms
from laion_dask.text.packaged import term_lists, write_term_list
from laion_dask.text.term_list import TermList

__all__ = ["TermList", "Terms", "term_lists", "terms", "write_term_list"]
