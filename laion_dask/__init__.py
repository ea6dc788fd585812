"""Understand, audit and carve web-scale image-text data sets."""
