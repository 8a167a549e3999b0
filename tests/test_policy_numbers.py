"""One place decides: SQL and Lua hold, order and compare, and get every number that decides anything as a parameter.

Scanned are the SQL in the strings of live_backend, the migrations, and the Lua scripts. The numbers 0 and 1 are no
policy; nor are subscripts of Lua's KEYS and ARGV, and how a table is laid out on disk. SQL is never put together from
pieces either, but by psycopg.sql, which quotes names: a value that is pasted is a number that nobody finds, or worse.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SQL_SOURCES = [*sorted((ROOT / "live_backend").rglob("*.py")), *sorted((ROOT / "cli").rglob("*.py"))]
MIGRATIONS = ROOT / "live_backend" / "migrations"
LUA_SOURCES = sorted((ROOT / "live_backend").rglob("*.lua"))

IS_SQL = re.compile(
    r"\s*(?:with\s+\w+(?:\s*\([^)]*\))?\s+as\b|select\b.|insert\s+into\b|delete\s+from\b"
    r"|update\s+[\w.]+\s+(?:\w+\s+)?set\b|(?:create|alter|drop)\s+(?:table|view|index|sequence|function|schema|or\s+replace|unique)\b)",
    re.IGNORECASE | re.DOTALL,
)
IS_LUA = re.compile(r"\bredis\.call\(")
PLACEHOLDER = re.compile(r"\$\d+|%\(\w+\)s|%%")
LAYOUT = re.compile(r"\b(?:fillfactor|pages_per_range)\s*=\s*\d+")
"""How a table or an index lies on disk decides nothing about a task."""
SUBSCRIPT = re.compile(r"\b(?:KEYS|ARGV)\s*\[\s*\d+\s*\]|\bfor \w+ = \d+, #(?:KEYS|ARGV), \d+ do")
"""Where an argument stands, and a walk over them, so many at a time."""
NUMBER = re.compile(r"(?<![\w.$%])\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])|(?<=[\"' ])\d+(?=[a-z])", re.IGNORECASE)
NO_POLICY = {"0", "1"}


def numbers(text: str) -> Iterator[tuple[int, str]]:
    """(line from 0, number) of everything in SQL or Lua that could decide something."""
    for line, content in enumerate(text.splitlines()):
        bare = SUBSCRIPT.sub("", LAYOUT.sub("", PLACEHOLDER.sub("", re.sub(r"--.*", "", content))))
        yield from ((line, found[0]) for found in NUMBER.finditer(bare) if found[0] not in NO_POLICY)


def docstrings(tree: ast.AST) -> set[int]:
    """The ids of string nodes that are prose: a statement of their own."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def sql_strings(tree: ast.AST) -> Iterator[ast.Constant]:
    """The string constants that are SQL or Lua."""
    prose = docstrings(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in prose:
            continue
        if IS_SQL.match(node.value) or IS_LUA.search(node.value):
            yield node


def literals(name: str, source: str) -> list[str]:
    """`file:line: number` of each policy number in the SQL of a Python file."""
    return [
        f"{name}:{node.lineno + line}: {number}"
        for node in sql_strings(ast.parse(source))
        for line, number in numbers(str(node.value))
    ]


def is_psycopg_sql(node: ast.AST) -> bool:
    """`sql.SQL(…)`, and what comes of it."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("sql.SQL", "SQL")


def pasted(name: str, source: str) -> list[str]:
    """`file:line: code` of each place where SQL is put together by f-string, %, +, format, replace or join."""
    tree = ast.parse(source)
    constants = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        and IS_SQL.match(node.value.value)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }

    def is_sql(node: ast.AST | None) -> bool:
        if isinstance(node, ast.Constant):
            return isinstance(node.value, str) and bool(IS_SQL.match(node.value))
        if isinstance(node, ast.BinOp):
            return is_sql(node.left)
        if isinstance(node, ast.JoinedStr):
            return bool(node.values) and is_sql(node.values[0])
        if isinstance(node, ast.FormattedValue):
            return is_sql(node.value)
        return ast.unparse(node).split(".")[-1] in constants if isinstance(node, ast.Name | ast.Attribute) else False

    wrong = []
    for node in ast.walk(tree):
        made = (
            (
                isinstance(node, ast.JoinedStr)
                and any(isinstance(each, ast.FormattedValue) for each in node.values)
                and any(is_sql(each) for each in node.values)
            )
            or (
                isinstance(node, ast.BinOp)
                and isinstance(node.op, ast.Mod | ast.Add)
                and (is_sql(node.left) or is_sql(node.right))
            )
            or (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("format", "replace", "join", "format_map")
                and is_sql(node.func.value)
            )
        )
        if made and isinstance(node, ast.expr):
            wrong.append(f"{name}:{node.lineno}: {ast.unparse(node)[:80]}")
    return wrong


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_policy_number_stands_in_sql() -> None:
    assert [line for path in SQL_SOURCES for line in literals(relative(path), path.read_text("utf-8"))] == []


def test_no_policy_number_stands_in_lua() -> None:
    assert LUA_SOURCES, "where have the scripts gone?"
    found = [
        f"{relative(path)}:{line + 1}: {number}"
        for path in LUA_SOURCES
        for line, number in numbers(path.read_text("utf-8"))
    ]
    assert found == []


def test_sql_is_never_put_together_from_pieces() -> None:
    assert [line for path in SQL_SOURCES for line in pasted(relative(path), path.read_text("utf-8"))] == []


def test_what_is_scanned_is_really_there() -> None:
    """Were the SQL moved or spelt another way, the tests above would see nothing and pass."""
    counts = {relative(path): len(list(sql_strings(ast.parse(path.read_text("utf-8"))))) for path in SQL_SOURCES}
    assert counts["live_backend/statements.py"] >= 25
    assert counts["live_backend/pruning.py"] >= 10
    assert all(counts[relative(path)] for path in (MIGRATIONS / "versions").glob("*.py"))
    assert sum(counts.values()) >= 60


@pytest.mark.parametrize(
    "line",
    [
        'X = "select id from task where attempt < 6"',
        "X = \"update task set lease_until = now() + interval '10 seconds'\"",
        'X = """\nwith won as (\n    select 0.2)\nselect 1 from won"""',
        'def f():\n    run("delete from task where id > 1000000")',
        'X = "select * from task limit 50"',
        'X = "select power(2, attempt) from task"',
        'X = "insert into task (id, priority) values ($1, 3)"',
        "X = \"select '30s'::interval\"",
        'X = "create function f() returns int language sql as $$ select 512 $$"',
        "X = \"return redis.call('EXPIRE', KEYS[1], 60)\"",
        "X = \"for i = 1, 5 do redis.call('DEL', KEYS[i]) end\"",
    ],
)
def test_the_search_for_numbers_can_fail(line: str) -> None:
    assert len(literals("x.py", line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        '"""select 5 tasks, or update 7: prose."""',
        'X = "select %(limit)s, $12, a::float8, int4range from task_2 where x[1] = 0"',
        'X = "create table task (id bigint primary key) with (fillfactor = 40)"',
        'X = "select 1 -- of 17"',
        'X = "update 12 packages"',
        "X = \"for i = 3, #ARGV, 2 do redis.call('DEL', KEYS[2]) end\"",
    ],
)
def test_the_search_for_numbers_lets_through_what_decides_nothing(line: str) -> None:
    assert literals("x.py", line) == []


@pytest.mark.parametrize(
    "line",
    [
        'X = f"select id from {table}"',
        'X = "select id from task where id = %s" % task',
        'X = "select id from task where id = {}".format(task)',
        'X = "select id from task " + where',
        'BASE = "select id from task"\nX = f"{BASE} where id = 1"',
        'BASE = "select id from task"\nX = BASE + where',
        'BASE = "select id from task"\nX = BASE.replace("task", table)',
    ],
)
def test_the_search_for_pasted_sql_can_fail(line: str) -> None:
    assert len(pasted("x.py", line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        'X = sql.SQL("select id from {}").format(sql.Identifier(table))',
        'X = f"updated {n} tasks"',
        'X = "the tasks of " + name',
        'X = "select id from task where id = any(%(ids)s)"',
    ],
)
def test_the_search_for_pasted_sql_lets_psycopg_do_it(line: str) -> None:
    assert pasted("x.py", line) == []
