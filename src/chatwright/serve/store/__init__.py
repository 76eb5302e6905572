"""The database of the service: tables, sealed content, transactions."""

from chatwright.serve.store.engine import Store, memory_store, open_store
from chatwright.serve.store.sealing import Keyring, Sealer, read_master_key

__all__ = ["Keyring", "Sealer", "Store", "memory_store", "open_store", "read_master_key"]
