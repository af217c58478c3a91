"""What a recipe means: two that mean the same compute the same."""
