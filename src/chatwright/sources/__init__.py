"""Where weights and data come from: package index, hub, web, files; checked and cached."""

from chatwright.sources.fetching import fetch
from chatwright.sources.hub import fetch_snapshot

__all__ = ["fetch", "fetch_snapshot"]
