"""What a recogniser understands of outputs."""
