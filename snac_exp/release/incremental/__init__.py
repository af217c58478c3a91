"""The decoder layer by layer, each with the state that lets it go on where it was: new frames cost what they are."""
