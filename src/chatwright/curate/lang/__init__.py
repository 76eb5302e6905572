"""Which language and script a text is in: by script, by two votes, and line by line."""
