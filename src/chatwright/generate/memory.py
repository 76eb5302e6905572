"""The tables of sequences over a runner's blocks: growing, sharing, copying, sliding, reusing."""

from __future__ import annotations

import secrets

from chatwright.generate.blocks import BlockPool
from chatwright.generate.group import Group, Sequence
from chatwright.generate.runner import Runner


class Memory:
    """What the scheduler does with blocks. It is the `Pool` that groups fork and drop with.

    A block that more than one sequence refers to is never written to, and neither is one whose
    content has a name. Whatever a sequence is about to write is made its own first (`prepare`).
    """

    def __init__(self, runner: Runner, *, reuse: bool = True, keep: int | None = None) -> None:
        self.pool = BlockPool(runner.n_blocks, runner.block_size, keep=keep if reuse else 0)
        self._runner = runner
        self._size = runner.block_size
        self._reuse = reuse

    def admit(self, group: Group) -> None:
        """Give the group's sequences the name that their blocks' names begin with.

        Without reuse it is the group's own, so that only its own sequences share blocks, and none
        where it has one only.
        """
        if self._reuse and not group.wants_states:
            chain = self.pool.tenant_key(group.tenant)
        else:
            chain = secrets.token_bytes(16) if group.width > 1 else b""
        for sequence in group.sequences:
            sequence.chain = chain

    def needs(self, group: Group) -> int:
        """How many of the available blocks it takes to compute the group's tokens."""
        pool, size = self.pool, self._size
        names: set[bytes] = set()
        needed = 0
        for sequence in group.sequences:
            needed += -(-len(sequence.tokens) // size)
            if sequence.named:
                count = self._whole(sequence)
                pool.extend_names(sequence.digests, sequence.tokens, count, sequence.chain)
                names.update(sequence.digests[:count])
                needed -= count
        return needed + sum(not pool.in_use(name) for name in names)

    def lacks(self, sequence: Sequence) -> int:
        """How many blocks are missing until its tokens have places, one more to go on."""
        return len(sequence.tokens) // self._size + 1 - len(sequence.blocks)

    def next_name(self, sequence: Sequence) -> tuple[bytes | None, bool]:
        """The name of the block that the sequence fills next, and whether it has begun to.

        None where no other sequence could use that block, or this one could not use another's.
        """
        at = sequence.computed // self._size
        if not sequence.named or at >= min(self._whole(sequence), len(sequence.digests)):
            return None, False
        return sequence.digests[at], len(sequence.blocks) > at

    def adopt(self, sequence: Sequence) -> int:
        """Take what others have computed of the sequence's next tokens; how many that were.

        The last token always is computed, because its logits are wanted.
        """
        size, at = self._size, sequence.computed // self._size
        if not sequence.named or sequence.computed % size or len(sequence.blocks) != at:
            return 0
        count = self._whole(sequence)
        names = sequence.digests
        if len(names) < count:
            self.pool.extend_names(names, sequence.tokens, count, sequence.chain)
        start = at
        while at < count and (block := self.pool.find(names[at])) is not None:
            sequence.blocks.append(block)
            at += 1
        if at > start:
            sequence.computed = at * size
            sequence.registered = at
        return (at - start) * size

    def prepare(self, sequence: Sequence, end: int) -> bool:
        """Make the positions from `computed` to before `end` writable. False where memory ends.

        What was got until then stays in the table.
        """
        blocks, references = sequence.blocks, self.pool.references
        at, last = sequence.computed // self._size, (end - 1) // self._size
        while at <= last:
            if at == len(blocks):
                block = self._take()
                if block is None:
                    return False
                blocks.append(block)
            elif references[blocks[at]] > 1:
                block = self._take(copy_of=blocks[at])
                if block is None:
                    return False
                blocks[at] = block
            at += 1
        return True

    def register(self, sequence: Sequence) -> None:
        """Make its full blocks known by their content, for others to use."""
        full = sequence.computed // self._size
        if full <= sequence.registered or not sequence.named:
            return
        names = sequence.digests
        if len(names) < full:
            self.pool.extend_names(names, sequence.tokens, full, sequence.chain)
        for at in range(sequence.registered, full):
            self.pool.register(sequence.blocks[at], names[at])
        sequence.registered = full

    def fork(self, sequence: Sequence) -> Sequence:
        """A sequence with the same tokens that shares all blocks, copied when written to."""
        other = Sequence(sequence.tokens)
        other.computed = sequence.computed
        other.blocks = list(sequence.blocks)
        other.chain = sequence.chain
        other.digests = list(sequence.digests)
        other.registered = sequence.registered
        other.pure = sequence.pure
        self.pool.share(other.blocks)
        return other

    def drop(self, sequence: Sequence) -> None:
        """Give the blocks back; those whose content is known are kept for a while."""
        # Tokens that were proposed and not accepted are in the cache, but not in `tokens`.
        sequence.computed = max(0, min(sequence.computed, len(sequence.tokens) - 1))
        self.register(sequence)
        self.pool.release(sequence.blocks)
        self._reset(sequence)

    def discard(self, sequence: Sequence) -> None:
        """Give back blocks that may hold NaN: nobody finds them, and they are cleared."""
        self.pool.taint(sequence.blocks)
        self.pool.release(sequence.blocks)
        self._reset(sequence)

    def slide(self, sequence: Sequence, sinks: int) -> bool:
        """Drop the oldest quarter of the tokens after the first `sinks`, in whole blocks.

        The tokens after them move to lower positions. False, and nothing done, where memory does
        not suffice for copies of blocks that are shared.
        """
        size, pool = self._size, self.pool
        first = -(-sinks // size)
        count = max(1, (sequence.computed // size - first) // 4)
        gone = sequence.blocks[first : first + count]
        moved = sequence.blocks[first + count :]
        shared = sum(pool.references[block] > 1 for block in moved)
        if shared > pool.available + sum(pool.references[block] == 1 for block in gone):
            return False
        pool.release(gone)
        del sequence.blocks[first : first + count]
        for i, block in enumerate(moved, start=first):
            if pool.references[block] > 1:
                own = self._take(copy_of=block)
                assert own is not None
                sequence.blocks[i] = own
            else:
                pool.forget(block)
        self._runner.shift(sequence.blocks[first:], count * size)
        del sequence.tokens[first * size : (first + count) * size]
        sequence.computed -= count * size
        # Later tokens have looked at what is gone, so no name tells what the blocks hold now.
        sequence.pure = False
        sequence.digests.clear()
        sequence.registered = 0
        return True

    def _take(self, copy_of: int | None = None) -> int | None:
        """A block of one's own, in place of the shared one `copy_of` where that is given."""
        block = self.pool.take()
        if block is None:
            return None
        try:
            if copy_of is not None:
                self._runner.copy(copy_of, block)
                self.pool.tainted.discard(block)
                self.pool.release([copy_of])
            elif block in self.pool.tainted:
                self._runner.clear([block])
                self.pool.tainted.discard(block)
        except Exception:
            self.pool.taint([block])
            self.pool.release([block])
            raise
        return block

    def _whole(self, sequence: Sequence) -> int:
        """How many full blocks its tokens have, without the last token's."""
        return (len(sequence.tokens) - 1) // self._size

    @staticmethod
    def _reset(sequence: Sequence) -> None:
        sequence.blocks = []
        sequence.computed = 0
        sequence.registered = 0
        sequence.pure = True  # computed anew, it follows from the tokens that are left
