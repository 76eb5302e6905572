"""Text to token ids and back: byte-level BPE, chat templates, stages that train a tokenizer."""

from chatwright.tokenizer.chat import ChatTemplate
from chatwright.tokenizer.detokenize import Detokenizer
from chatwright.tokenizer.tokenizer import Tokenizer

__all__ = ["ChatTemplate", "Detokenizer", "Tokenizer"]
