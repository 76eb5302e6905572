"""Scores of what a corpus should not be made of: adult, offensive, spam, lists of personal data."""
