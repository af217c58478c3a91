"""Targets of wide-band heads."""
