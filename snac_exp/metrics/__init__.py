"""How far an estimate is from its reference; one table of all metrics."""
