"""Who is next: in turn between tenants by what each has had, first come first served within one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from chatwright.generate.group import Group


class _Account:
    """What a tenant has had (in tokens computed), what waits, and how many requests run."""

    __slots__ = ("running", "served", "waiting")

    def __init__(self, served: int) -> None:
        self.served = served
        self.waiting: deque[Group] = deque()
        self.running = 0


class FairQueue:
    """Requests that wait. The next is the oldest of the tenant that has been served least.

    A tenant that comes anew, or comes back, begins where the least served of those present is:
    what it did not use is not saved up (as the virtual token counter of Sheng et al. 2024,
    "Fairness in Serving Large Language Models").
    """

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Group]:
        for account in self._accounts.values():
            yield from account.waiting

    def push(self, group: Group) -> None:
        """Wait at the end of the tenant's queue."""
        self._account(group).waiting.append(group)
        self._size += 1

    def push_back(self, group: Group) -> None:
        """Wait again, before all others of the tenant: it ran, and had to make room."""
        account = self._accounts[group.tenant]
        account.running -= 1
        account.waiting.appendleft(group)
        self._size += 1

    def peek(self) -> Group | None:
        """The next one; None where nobody waits."""
        account = self._next()
        return None if account is None else account.waiting[0]

    def pop(self) -> Group:
        """Take the next one out; it runs until `leave` or `push_back`."""
        account = self._next()
        if account is None:
            raise IndexError("nobody waits")
        account.running += 1
        self._size -= 1
        return account.waiting.popleft()

    def leave(self, group: Group) -> None:
        """A request that ran is over."""
        account = self._accounts[group.tenant]
        account.running -= 1
        self._prune(group.tenant, account)

    def remove(self, unwanted: Callable[[Group], bool]) -> list[Group]:
        """Take out those waiting that are `unwanted`, and return them."""
        removed: list[Group] = []
        for tenant, account in list(self._accounts.items()):
            gone = {group: None for group in account.waiting if unwanted(group)}
            if gone:
                account.waiting = deque(g for g in account.waiting if g not in gone)
                self._prune(tenant, account)
                removed += gone
        self._size -= len(removed)
        return removed

    def charge(self, group: Group, tokens: int) -> None:
        """The group, which runs, had so many tokens computed."""
        self._accounts[group.tenant].served += tokens

    def _account(self, group: Group) -> _Account:
        account = self._accounts.get(group.tenant)
        if account is None:
            served = min((a.served for a in self._accounts.values()), default=0)
            account = self._accounts[group.tenant] = _Account(served)
        return account

    def _next(self) -> _Account | None:
        if not self._size:
            return None
        waiting = (account for account in self._accounts.values() if account.waiting)
        return min(waiting, key=lambda account: account.served)

    def _prune(self, tenant: str, account: _Account) -> None:
        if not account.waiting and not account.running:
            del self._accounts[tenant]
