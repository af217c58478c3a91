"""What a user can choose, and the check that the choice makes sense."""
