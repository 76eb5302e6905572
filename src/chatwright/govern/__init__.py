"""Accounts for what was made: model cards, reports, lineage."""
