"""Directories of YAML: the files, their documents, and the objects declared in them."""
