"""Packed folders: the audio of a prepared folder in few large files."""
