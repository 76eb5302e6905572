"""Blocks: no leak, no double owner, nothing found that is not there, memory bounded."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from chatwright.generate.blocks import BlockPool


class PoolMachine(RuleBasedStateMachine):
    """Tables that come and go, share and fork; a plain recount is the oracle."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(12, 4, keep=3, secret=b"s" * 32)
        self.tables: list[list[int]] = []
        self.content: dict[int, bytes] = {}  # what each registered block was registered as
        self.most_used = 0

    @rule(count=st.integers(1, 5))
    def take(self, count: int) -> None:
        table = []
        for _ in range(count):
            available = self.pool.available
            block = self.pool.take()
            assert (block is None) == (available == 0)
            if block is None:
                break
            assert self.pool.available == available - 1
            assert not any(block in other for other in self.tables) and block not in table
            self.content.pop(block, None)
            table.append(block)
        if table:
            self.tables.append(table)

    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        if self.tables:
            table = data.draw(st.sampled_from(self.tables))
            self.pool.share(table)
            self.tables.append(list(table))

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.tables:
            at = data.draw(st.integers(0, len(self.tables) - 1))
            self.pool.release(self.tables.pop(at))

    @rule(data=st.data(), name=st.binary(min_size=1, max_size=1))
    def register(self, data: st.DataObject, name: bytes) -> None:
        if self.tables:
            block = data.draw(st.sampled_from(data.draw(st.sampled_from(self.tables))))
            if name not in self.content.values() and block not in self.content:
                self.content[block] = name
            self.pool.register(block, name)

    @rule(name=st.binary(min_size=1, max_size=1))
    def find(self, name: bytes) -> None:
        block = self.pool.find(name)
        known = [b for b, n in self.content.items() if n == name]
        if block is not None:
            assert known == [block]
            self.tables.append([block])
        else:
            assert not known

    @rule(data=st.data())
    def taint(self, data: st.DataObject) -> None:
        if self.tables:
            table = data.draw(st.sampled_from(self.tables))
            self.pool.taint(table)
            for block in table:
                self.content.pop(block, None)
            assert self.pool.tainted.issuperset(table)

    @rule()
    def forget_all(self) -> None:
        self.pool.forget_all()
        self.content.clear()

    @invariant()
    def counts_are_exact(self) -> None:
        pool = self.pool
        counted = [sum(b in table for table in self.tables) for b in range(pool.n_blocks)]
        assert pool.references == counted
        used = sum(count > 0 for count in counted)
        assert pool.used == used
        assert pool.available == pool.n_blocks - used
        assert pool.kept == sum(counted[block] == 0 for block in self.content)
        self.most_used = max(self.most_used, used)
        # Memory: what was used at the same time, and the share that is kept.
        assert pool.touched <= self.most_used + pool.keep


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def filled(pool: BlockPool, names: list[bytes]) -> list[int]:
    blocks = []
    for name in names:
        block = pool.take()
        assert block is not None
        pool.register(block, name)
        blocks.append(block)
    return blocks


def test_the_one_unused_longest_goes_first_and_ends_before_beginnings() -> None:
    pool = BlockPool(6, 4, keep=6)
    old = filled(pool, [b"a1", b"a2", b"a3"])
    new = filled(pool, [b"b1", b"b2", b"b3"])
    pool.release(old)
    pool.release(new)
    assert [pool.take() for _ in range(4)] == [*reversed(old), new[-1]]
    assert pool.find(b"a1") is None
    assert pool.find(b"b1") == new[0]


def test_old_content_is_given_up_rather_than_memory_touched() -> None:
    pool = BlockPool(100, 4, keep=2)
    pool.release(filled(pool, [b"1", b"2", b"3", b"4"]))
    assert (pool.kept, pool.touched) == (4, 4)
    taken = [pool.take() for _ in range(2)]
    assert (pool.kept, pool.touched) == (2, 4)  # down to what may be kept
    taken.append(pool.take())
    assert (pool.kept, pool.touched) == (2, 5)
    assert pool.used == len(taken)


@given(
    st.lists(st.integers(0, 2**20), max_size=30),
    st.lists(st.integers(0, 2**20), max_size=30),
    st.text(max_size=3),
    st.text(max_size=3),
)
def test_names_are_equal_where_tenant_and_all_tokens_so_far_are(
    one: list[int], other: list[int], tenant: str, another: str
) -> None:
    pool = BlockPool(4, 4)
    names: list[list[bytes]] = []
    for tokens, owner in ((one, tenant), (other, another)):
        names.append([])
        pool.extend_names(names[-1], tokens, len(tokens) // 4, pool.tenant_key(owner))
    for at, (mine, yours) in enumerate(zip(*names, strict=False), start=1):
        same = tenant == another and one[: 4 * at] == other[: 4 * at]
        assert (mine == yours) == same


def test_names_are_this_process_own_and_can_be_made_in_parts() -> None:
    tokens = list(range(40))
    pool = BlockPool(4, 4)
    whole: list[bytes] = []
    pool.extend_names(whole, tokens, 10, pool.tenant_key("x"))
    parts: list[bytes] = []
    for count in (0, 1, 1, 4, 10):
        pool.extend_names(parts, tokens[: count * 4], count, pool.tenant_key("x"))
    assert parts == whole
    elsewhere = BlockPool(4, 4)
    names: list[bytes] = []
    elsewhere.extend_names(names, tokens, 10, elsewhere.tenant_key("x"))
    assert not set(names) & set(whole)
