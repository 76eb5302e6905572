"""Pages, rows and conversations from wherever they are, each with its source and licence."""
