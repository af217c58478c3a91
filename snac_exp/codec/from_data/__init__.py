"""What of a codec is made from data and not by gradients: scales of layers, starts and averages of codebooks."""
