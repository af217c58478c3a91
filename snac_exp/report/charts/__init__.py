"""Charts as plain data for the templates."""
