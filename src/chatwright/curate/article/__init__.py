"""Which parts of a page are its article: one survey of the tree, one choice, and two libraries."""
