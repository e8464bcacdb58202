"""What the Platform API needs beside the desk: accounts, money, figures and who may read files."""

from collections.abc import Container

from msgspec import Struct

from calotype.accounts import Accounts
from calotype.db import Database
from calotype.ledger.ledger import Ledger
from calotype.media.acl import Acls


class Office(Struct, frozen=True):
    """The neighbours of the Platform API; `available` says what this machine can run.

    `webhook_ranges` are the addresses from which webhooks come, as far as the operator told.
    """

    db: Database
    accounts: Accounts
    ledger: Ledger
    acls: Acls
    available: Container[str]
    webhook_ranges: tuple[str, ...] = ()
