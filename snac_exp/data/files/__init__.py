"""Audio files: reading, measuring, completeness."""
