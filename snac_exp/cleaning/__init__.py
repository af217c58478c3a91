"""What an outputs folder holds, what of it may go, and the trash from which all can be put back."""
