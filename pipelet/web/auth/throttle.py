"""Attempts to log in get slower as they fail, for an account and for an address."""

from __future__ import annotations

import hashlib
import ipaddress
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: So many attempts may fail before the next has to wait.
FREE = 4
#: The longest wait, in seconds.
LONGEST = 30.0
#: Seconds after the last failure at which all is forgotten.
FORGET = 900.0
#: From so many addresses an account may have failures before strangers have to wait as well.
ADDRESSES = 20
#: Accounts and addresses that are remembered, each.
MOST = 5_000
#: Addresses from which the owner of an account has logged in, the last ones.
_PROVEN = 8


class TooSoon(Exception):
    """Too many attempts failed: the next is looked at after some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass
class _Record:
    failures: int = 0
    last: float = 0.0
    addresses: dict[bytes, None] = field(default_factory=dict)

    def wait(self, now: float) -> float:
        if self.failures < FREE:
            return 0.0
        # 2 ** 5 is more than the longest wait; of thousands of failures no power can be had.
        delay: float = min(LONGEST, 2.0 ** min(self.failures - FREE, 5))
        return max(0.0, self.last + delay - now)


class Throttle:
    """Counts failures, and says who has to wait.

    An account's failures slow down only those addresses that took part in them, until these are many. So whoever tries
    passwords from elsewhere does not keep out the owner; and where both have one address, the owner waits no longer
    than the longest wait between two attempts. Where the owner has logged in before, only the failures from there
    count, however many take part elsewhere.

    Parameters
    ----------
    clock
        Gives the present in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._accounts: dict[bytes, _Record] = {}
        self._addresses: dict[bytes, _Record] = {}
        self._proven: dict[bytes, dict[bytes, _Record]] = {}

    def __len__(self) -> int:
        return len(self._accounts) + len(self._addresses)

    def begin(self, account: str, address: str) -> None:
        """Ask for an attempt. It counts as failed until `succeeded` says otherwise, so that many at once don't pass.

        Parameters
        ----------
        account
            The name as it was typed; whether there is such an account makes no difference.
        address
            Where it comes from.

        Raises
        ------
        TooSoon
            Not yet. This does not make the wait any longer.
        """
        now, who, where = self._clock(), _key(account), _key(_network(address))
        with self._lock:
            of_account, of_address = _known(self._accounts, who, now), _known(self._addresses, where, now)
            wait = of_address.wait(now)
            at_home = self._proven.get(who, {}).get(where)
            if at_home is not None:
                wait = max(wait, at_home.wait(now))
            elif where in of_account.addresses or len(of_account.addresses) >= ADDRESSES:
                wait = max(wait, of_account.wait(now))
            if wait > 0:
                raise TooSoon(wait)
            if len(of_account.addresses) < ADDRESSES:
                of_account.addresses.setdefault(where)
            if at_home is not None:
                at_home.failures = 1 if now - at_home.last > FORGET else at_home.failures + 1
                at_home.last = now
            for records, key, record in (self._accounts, who, of_account), (self._addresses, where, of_address):
                record.failures += 1
                record.last = now
                records.pop(key, None)
                records[key] = record
                while len(records) > MOST:
                    del records[next(iter(records))]

    def succeeded(self, account: str, address: str) -> None:
        """Take back the attempt that was begun, since the password was right.

        What others did to the account stays; the address has shown that it belongs to somebody who may.
        """
        who, where = _key(account), _key(_network(address))
        with self._lock:
            self._addresses.pop(where, None)
            self._prove(who, where)
            record = self._accounts.get(who)
            if record is not None:
                record.addresses.pop(where, None)
                record.failures -= 1
                if record.failures <= 0 or not record.addresses:
                    del self._accounts[who]

    def _prove(self, who: bytes, where: bytes) -> None:
        proven = self._proven.pop(who, {})
        proven.pop(where, None)
        proven[where] = _Record()
        self._proven[who] = proven
        while len(proven) > _PROVEN:
            del proven[next(iter(proven))]
        while len(self._proven) > MOST:
            del self._proven[next(iter(self._proven))]


def _known(records: dict[bytes, _Record], key: bytes, now: float) -> _Record:
    record = records.get(key)
    return _Record() if record is None or now - record.last > FORGET else record


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _network(address: str) -> str:
    """One customer has a whole /64 of IPv6."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address) or found.ipv4_mapped:
        return str(getattr(found, "ipv4_mapped", None) or found)
    return str(ipaddress.ip_network((found, 64), strict=False))
