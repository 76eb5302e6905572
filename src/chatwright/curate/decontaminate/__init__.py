"""Test items found in training rows, and what is then done with the rows."""
