"""The file of a checkpoint: format, storage, and the state it holds."""
