"""Verbs that train, plan, and look after runs."""
