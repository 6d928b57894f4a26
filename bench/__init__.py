"""Benchmarks: `python -m bench [NAME ...]` or `make bench`. Each writes its figures to `.bench/<name>.json`."""
