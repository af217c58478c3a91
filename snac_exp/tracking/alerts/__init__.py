"""Messages to a webhook."""
