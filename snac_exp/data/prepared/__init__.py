"""Prepared folders: the manifest and its splits."""
