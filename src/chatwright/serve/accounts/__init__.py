"""People and what they show: passwords, sessions, keys, second factors, invitations."""

from chatwright.serve.accounts.accounts import Accounts
from chatwright.serve.accounts.mounting import add_accounts
from chatwright.serve.accounts.settings import ServerSettings, server_settings
from chatwright.serve.accounts.setup import first_start_link

__all__ = ["Accounts", "ServerSettings", "add_accounts", "first_start_link", "server_settings"]
