"""Conversations as trees: written, read, found, shared, taken out and brought in."""
