"""Metrics that models of listeners, speakers and pitch give, one file each; measured only where they are asked for."""
