"""The ways in which the store cannot help.

CacheError
+ UnencodableError        a value without an exact canonical form; carries the path to it
+ CacheMissError          a replay found nothing
+ CorruptEntryError       an entry whose digest does not fit its bytes
+ StoreUnavailableError   the store cannot be opened, read or written
  + StoreDamagedError     because the bytes of its database are wrong
+ NoSuchRunError          no journal, or more than one, has this name
"""


class CacheError(Exception):
    """The store or a key could not do what was asked."""


class UnencodableError(CacheError):
    """A value has no exact canonical form, so it can be in no key."""


class CacheMissError(CacheError):
    """A replay may only read, and the answer is not there."""


class CorruptEntryError(CacheError):
    """An entry is damaged: its bytes do not have the digest that was written with them."""


class StoreUnavailableError(CacheError):
    """The store cannot be opened, read or written; nothing is skipped silently, since that costs twice."""


class StoreDamagedError(StoreUnavailableError):
    """The database is damaged outside of its entries, so that SQLite cannot go on."""


class NoSuchRunError(CacheError):
    """No journal, or more than one, has this name."""
