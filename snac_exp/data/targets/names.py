"""The files of a folder of targets by their names."""

SETTINGS_NAME = "targets.json"
