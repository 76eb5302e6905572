"""How much of what a corpus holds: groups of rows, their weights, and rows taken or repeated."""
