"""Estimate the bytes, time and memory of a job before anything runs."""
