"""Run folders and launching."""
