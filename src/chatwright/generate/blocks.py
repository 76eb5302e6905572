"""Who owns which block of the paged KV cache, and which blocks can be used again.

A full block's content follows from its tokens and from all tokens before it. So its name is a hash
chained over both, and a prompt that begins like an earlier one takes that one's blocks instead of
computing them again (as vLLM's automatic prefix caching and SGLang's RadixAttention).
"""

from __future__ import annotations

import secrets
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

# How much of the pool blocks that nobody uses may take, before an old one is used again rather than
# memory that was never touched. Touching is what takes memory from the system.
KEPT_SHARE = 8


class BlockPool:
    """`n_blocks` blocks: in use (counted references), kept for their content, free, or untouched.

    A block that nobody refers to any more is kept where its content has a name, and the one unused
    longest is given away first when there is need, but at once when more than `keep` are kept:
    memory grows with what is used at the same time, plus `keep` blocks.

    Names are keyed with a secret of this process and with the tenant. Nobody can tell from how fast
    an answer comes what another tenant has asked, nor find tokens whose hash is another's.
    """

    def __init__(
        self,
        n_blocks: int,
        block_size: int,
        *,
        keep: int | None = None,
        secret: bytes | None = None,
    ) -> None:
        self.n_blocks = n_blocks
        self.block_size = block_size
        self.keep = n_blocks // KEPT_SHARE if keep is None else keep
        self.references = [0] * n_blocks
        self.tainted: set[int] = set()
        self.hits = 0  # blocks that were found by name
        self._secret = secrets.token_bytes(32) if secret is None else secret
        self._untouched = 0  # the first block that was never used
        self._freed: list[int] = []  # last in, first out: it may still be in the processor's cache
        self._kept: OrderedDict[int, None] = OrderedDict()  # the one unused longest first
        self._names: dict[int, bytes] = {}
        self._blocks: dict[bytes, int] = {}

    @property
    def available(self) -> int:
        """Blocks that can be had now."""
        return len(self._freed) + len(self._kept) + self.n_blocks - self._untouched

    @property
    def used(self) -> int:
        """Blocks that somebody refers to."""
        return self.n_blocks - self.available

    @property
    def kept(self) -> int:
        """Blocks that nobody refers to, kept for their content."""
        return len(self._kept)

    @property
    def touched(self) -> int:
        """Blocks that have ever been used: their memory has been taken from the system."""
        return self._untouched

    def take(self) -> int | None:
        """A block of one's own, its content undefined; None when all are in use."""
        if self._freed:
            block = self._freed.pop()
        elif self._kept and (len(self._kept) > self.keep or self._untouched == self.n_blocks):
            block, _ = self._kept.popitem(last=False)
            self.forget(block)
        elif self._untouched < self.n_blocks:
            block = self._untouched
            self._untouched += 1
        else:
            return None
        self.references[block] = 1
        return block

    def share(self, blocks: Iterable[int]) -> None:
        """One more reference to each of `blocks`, which are in use."""
        for block in blocks:
            self.references[block] += 1

    def release(self, blocks: Sequence[int]) -> None:
        """One reference less to each of `blocks`, a sequence's table in order.

        The last ones are given away first: without those before them nobody can use them.
        """
        references = self.references
        for block in reversed(blocks):
            references[block] -= 1
            if references[block] == 0:
                if block in self._names:
                    self._kept[block] = None
                else:
                    self._freed.append(block)

    def find(self, name: bytes) -> int | None:
        """A block with that content, with one more reference; None where there is none."""
        block = self._blocks.get(name)
        if block is not None:
            if self.references[block] == 0:
                del self._kept[block]
            self.references[block] += 1
            self.hits += 1
        return block

    def in_use(self, name: bytes) -> bool:
        """Whether somebody refers to a block with that content."""
        block = self._blocks.get(name)
        return block is not None and self.references[block] > 0

    def register(self, block: int, name: bytes) -> None:
        """Make known that `block`, in use, has the content `name`. The first of equals counts."""
        if name not in self._blocks and block not in self._names:
            self._blocks[name] = block
            self._names[block] = name

    def forget(self, block: int) -> None:
        """The content of `block` has, or soon will have, no name."""
        name = self._names.pop(block, None)
        if name is not None:
            del self._blocks[name]
        if block in self._kept:
            del self._kept[block]
            self._freed.append(block)

    def forget_all(self) -> None:
        """No block's content is known any more: the weights that computed them have changed."""
        self._freed.extend(self._kept)
        self._kept.clear()
        self._names.clear()
        self._blocks.clear()

    def taint(self, blocks: Iterable[int]) -> None:
        """`blocks` may hold NaN: forget them; who takes one clears it first (`tainted`)."""
        for block in blocks:
            self.forget(block)
            self.tainted.add(block)

    def extend_names(
        self, names: list[bytes], tokens: Sequence[int], count: int, tenant: bytes
    ) -> None:
        """Append to `names` those of the next full blocks of `tokens`, up to `count` in all."""
        size = self.block_size
        for at in range(len(names), count):
            before = names[at - 1] if at else tenant
            key = array("q", tokens[at * size : (at + 1) * size]).tobytes()
            names.append(blake2b(before + key, key=self._secret, digest_size=16).digest())

    def tenant_key(self, tenant: str) -> bytes:
        """What the names of a tenant's first blocks are chained to (16 bytes, as a name has)."""
        return blake2b(
            tenant.encode("utf-8", "surrogatepass"),
            key=self._secret,
            digest_size=16,
            person=b"chatwright",
        ).digest()
