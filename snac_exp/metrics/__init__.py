"""What is measured: one file per metric, and one table of all."""
