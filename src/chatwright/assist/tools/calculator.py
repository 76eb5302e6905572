"""Arithmetic on a written expression: exact where it can be, bounded whatever is asked."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Annotated, Any

from pydantic import Field

from chatwright.assist.tools.definition import tool
from chatwright.errors import UsageError

Number = int | float | Fraction

_MOST_BITS = 4_000  # about 1,200 digits: larger whole numbers are refused before they are made
_SHOWN_DIGITS = 30
_TOKENS = {"×": "*", "÷": "/", "·": "*", "−": "-", "–": "-", "^": "**", "π": "pi", "√": "sqrt"}
_WIDE = {ord(wide): chr(ord(wide) - 0xFEE0) for wide in map(chr, range(0xFF01, 0xFF5F))}


def _rounded(value: Number, digits: Number = 0) -> Number:
    """`round`, for as many digits as somebody reads: Python would make a power of ten of any."""
    if not isinstance(digits, int) or abs(digits) > 30:
        raise UsageError("round takes at most 30 digits")
    rounded: Number = round(value, digits)  # type: ignore[assignment]
    return rounded


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Mod: operator.mod,
    ast.FloorDiv: operator.floordiv,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": math.sqrt, "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin,
    "acos": math.acos, "atan": math.atan, "log": math.log, "ln": math.log, "log10": math.log10,
    "log2": math.log2, "exp": math.exp, "abs": abs, "round": _rounded, "floor": math.floor,
    "ceil": math.ceil, "min": min, "max": max, "degrees": math.degrees, "radians": math.radians,
}  # fmt: skip
_CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau}


def evaluate(expression: str) -> Number:
    """The value of an expression: + - * / // % ^, brackets, percent, and some functions.

    Whole numbers and fractions stay exact. Raises `UsageError` for what is no arithmetic, has no
    value, or would be too large to write down.
    """
    text = expression.translate(_WIDE)
    for sign, plain in _TOKENS.items():
        text = text.replace(sign, plain)
    text = text.replace("%", "/100") if text.rstrip().endswith("%") else text
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError("this is not an expression that can be calculated") from error
    try:
        return _value(tree.body)
    except ZeroDivisionError as error:
        raise UsageError("division by zero") from error
    except (OverflowError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise UsageError("this expression has no value that can be calculated") from error


def _value(node: ast.expr) -> Number:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        number: Number = node.value  # type: ignore[assignment]
        return _bounded(Fraction(str(number)) if isinstance(number, float) else number)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _value(node.operand)
        return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp):
        return _bounded(_combined(node.op, _value(node.left), _value(node.right)))
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        called = _FUNCTIONS.get(node.func.id)
        if called is not None and len(node.args) <= 20:
            return _bounded(called(*[_value(argument) for argument in node.args]))
    raise _not_understood()


def _combined(sign: ast.operator, left: Number, right: Number) -> Any:
    if isinstance(sign, ast.Div):
        exact = not isinstance(left, float) and not isinstance(right, float)
        return Fraction(left) / Fraction(right) if exact else left / right
    if isinstance(sign, ast.Pow):
        return _power(left, right)
    function = _BINARY.get(type(sign))
    if function is None:
        raise _not_understood()
    return function(left, right)


def _not_understood() -> UsageError:
    return UsageError("only numbers, + - * / ^ %, brackets and common functions are understood")


def _power(base: Number, exponent: Number) -> Any:  # a complex number too, for `_bounded`
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        exponent = int(exponent)
    if isinstance(exponent, int) and not isinstance(base, float):
        size = max(Fraction(base).numerator.bit_length(), Fraction(base).denominator.bit_length())
        if size * abs(exponent) > _MOST_BITS:
            raise UsageError("the result would be too large to write down")
        return Fraction(base) ** exponent
    return float(base) ** float(exponent)


def _bounded(value: Any) -> Number:
    if isinstance(value, complex) or (isinstance(value, float) and not math.isfinite(value)):
        raise UsageError("this expression has no real value")
    if isinstance(value, Fraction):
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MOST_BITS:
            raise UsageError("the result would be too large to write down")
        return int(value) if value.denominator == 1 else value
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise UsageError("the result would be too large to write down")
    found: Number = value  # every case above left a number
    return found


def written(value: Number) -> str:
    """A number as people write it: exact where it is short, else to twelve figures."""
    if isinstance(value, Fraction):
        value = value.numerator / value.denominator
    if isinstance(value, int):
        text = str(value)
        return text if len(text) <= _SHOWN_DIGITS else f"{float(value):.12g} ({text})"
    return f"{value:.12g}"


@tool(title={"en": "Calculator", "zh": "计算器"})
def calculator(expression: Annotated[str, Field(min_length=1, max_length=500)]) -> dict[str, str]:
    """Calculate an arithmetic expression, like (3 + 4) * 2.5 or sqrt(2) ^ 3."""
    return {"expression": expression, "result": written(evaluate(expression))}
