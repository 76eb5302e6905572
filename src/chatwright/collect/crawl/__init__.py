"""A polite crawler: pages of a few sites into one WARC file, each request accounted for."""
