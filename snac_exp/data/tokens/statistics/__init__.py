"""What the tokens of a cache are like, as a language model meets them: use, repeats, n-grams, doubles."""
