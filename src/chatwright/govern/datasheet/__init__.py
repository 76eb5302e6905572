"""Data sheets of datasets, and their Croissant description, made from what is on disk."""
