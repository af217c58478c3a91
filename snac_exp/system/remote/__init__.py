"""Folders that lie in object stores: read through a local cache of whole files."""
