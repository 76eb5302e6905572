"""Normal form of a text: width, punctuation, script and spelling, each an edit of its own."""
