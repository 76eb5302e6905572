"""Token ids back to text, one at a time, without ever splitting a character."""

from __future__ import annotations

import codecs
from collections.abc import Callable


def byte_alphabet() -> dict[str, int]:
    """The character that stands for each byte in a byte-level vocabulary, reversed.

    Printable Latin-1 characters stand for themselves, the other bytes for U+0100 and up
    (Radford et al. 2019).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    alphabet = {chr(byte): byte for byte in printable}
    return alphabet | {chr(0x100 + i): byte for i, byte in enumerate(others)}


class Detokenizer:
    """Turns a stream of ids into a stream of text.

    `push` returns the characters that became whole with this token: a token may end in the middle
    of a character (most Chinese characters take two or three tokens in an English vocabulary), and
    those bytes wait for the next one. All pieces and `flush` joined equal `Tokenizer.decode`.
    """

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text that `token` completes; often empty, never half a character."""
        return self._decoder.decode(self._token_bytes(token))

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that was cut off, else nothing."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
