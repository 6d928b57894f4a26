"""Benchmarks: `python -m bench [NAME ...]`, or `make bench`. One module each; figures go to `.bench/<name>.json`."""
