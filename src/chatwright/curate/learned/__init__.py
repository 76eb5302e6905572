"""Quality that is learned from examples: a classifier, and an n-gram model's perplexity."""
