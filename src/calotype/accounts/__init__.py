"""Organisations and their API keys: who calls, and what they may reach."""

from calotype.accounts.accounts import Accounts
from calotype.accounts.types import KeyRecord, Organisation, OrgStatus

__all__ = ["Accounts", "KeyRecord", "OrgStatus", "Organisation"]
