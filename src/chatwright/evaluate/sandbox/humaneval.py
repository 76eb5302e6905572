"""HumanEval (Chen et al. 2021): from a model's answer to a program, from passes to pass@k."""

from __future__ import annotations

import ast
import math
import re

from chatwright.errors import DataError
from chatwright.evaluate.extraction import code_block

# Where a completion of a function's body has left the function; the paper's five.
STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
_CODE_BEGINS = re.compile(r"^(?:def|async def|class|from|import|@)\b|^@", re.MULTILINE)


def humaneval_program(prompt: str, completion: str, test: str, entry_point: str) -> str:
    """The program that passes where the completion is right, as openai/human-eval builds it."""
    return f"{prompt}{completion}\n{test}\ncheck({entry_point})"


def clean_completion(answer: str, entry_point: str) -> str:
    """The part of a model's answer that belongs after the prompt.

    A base model goes on with the body: it is cut where the function ends. A chat model answers in
    prose with code between fences: with the whole function (kept with its imports and helpers,
    without the examples and prints around it), or with a body, which is indented where it was
    not. The same text may be given back: where nothing is recognised, nothing is taken away.
    """
    block = code_block(answer)
    code = answer if block is None else block
    if _is_body(code):
        return _cut(code)
    if re.search(rf"^(?:async )?def {re.escape(entry_point)}\b", code, re.MULTILINE):
        return "\n" + _definitions(code)
    if block is None:
        return _cut(code)
    return "".join(f"    {line}" if line.strip() else line for line in code.splitlines(True))


def pass_at_k(n: int, c: int, k: int) -> float:
    """The unbiased estimate of pass@k from `n` answers to a problem of which `c` passed.

    1 - C(n-c, k) / C(n, k): the chance that at least one of k answers drawn without replacement
    passes (Chen et al. 2021, equation 1). Raises `DataError` unless 0 ≤ c ≤ n and 1 ≤ k ≤ n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise DataError(
            f"pass@{k} cannot be estimated from {c} passes in {n} answers",
            hint="ask for at least k answers to each problem",
        )
    # Integers: exact, where a product of floats loses digits for large n.
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def _is_body(code: str) -> bool:
    first = next((line for line in code.splitlines() if line.strip()), "")
    return first[:1] in (" ", "\t")


def _cut(code: str) -> str:
    """Up to the first stop sequence."""
    return code[: min((at for stop in STOPS if (at := code.find(stop)) >= 0), default=len(code))]


def _definitions(code: str) -> str:
    """Imports, definitions and assignments of a module; prose before and after is left out."""
    begins = _CODE_BEGINS.search(code)
    lines = code[begins.start() if begins else 0 :].splitlines()
    tree = None
    while lines and tree is None:  # prose after the code does not parse
        try:
            tree = ast.parse("\n".join(lines))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            lines.pop()
    if tree is None:
        return code
    kept: list[str] = []
    for node in tree.body:
        if isinstance(
            node,
            ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
            | ast.Assign | ast.AnnAssign,
        ):  # fmt: skip
            decorators = getattr(node, "decorator_list", [])
            start = min([node.lineno, *(d.lineno for d in decorators)])
            kept += lines[start - 1 : node.end_lineno]
    return "\n".join(kept) + "\n"
