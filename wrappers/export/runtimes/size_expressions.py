"""Sizes of tensors in exported programs: expressions that torch evaluates as Python code."""

from __future__ import annotations

import ast

_FUNCTIONS = frozenset(
    {
        "Add", "CeilDiv", "CleanDiv", "FloorDiv", "Identity", "Integer", "Max", "Min", "Mod", "Mul",
        "Pow", "PythonMod", "Rational", "Symbol",
    }
)  # fmt: skip
_KEYWORDS = frozenset({"integer", "positive", "nonnegative"})
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.USub)
MAX_LENGTH = 1000


def is_harmless(expression: str) -> bool:
    """Whether an expression can be evaluated without doing anything but arithmetic.

    >>> is_harmless("Mul(Integer(14), Symbol('s23', positive=True, integer=True))")
    True
    >>> is_harmless("2*s0 + 1")
    True
    >>> is_harmless("__import__('os').system('ls')")
    False
    """
    if len(expression) > MAX_LENGTH:
        return False
    try:
        return _is_arithmetic(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError):
        return False


def _is_arithmetic(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=bool() | int()):
            return True
        case ast.Constant(value=str(name)) | ast.Name(id=name):
            return _is_symbol(name)
        case ast.UnaryOp(op=op, operand=operand):
            return isinstance(op, _OPERATORS) and _is_arithmetic(operand)
        case ast.BinOp(op=op, left=left, right=right):
            return isinstance(op, _OPERATORS) and _is_arithmetic(left) and _is_arithmetic(right)
        case ast.Call(func=ast.Name(id=function), args=args, keywords=keywords):
            return (
                function in _FUNCTIONS
                and all(map(_is_arithmetic, args))
                and all(
                    keyword.arg in _KEYWORDS and _is_arithmetic(keyword.value)
                    for keyword in keywords
                )
            )
    return False


def _is_symbol(name: str) -> bool:
    """A letter and a number: nothing that Python or sympy have a meaning for."""
    return len(name) > 1 and name[0] in "su" and name[1:].isascii() and name[1:].isdecimal()
