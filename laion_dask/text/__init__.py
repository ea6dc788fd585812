"""Captions and addresses: term lists and the matcher, word boundaries, domains, language."""

from laion_dask.text.packaged_lists import term_lists, write_term_list
from laion_dask.text.term_list import TermList

__all__ = ["TermList", "term_lists", "write_term_list"]
