"""Exported folders: formats, model card, upload."""
