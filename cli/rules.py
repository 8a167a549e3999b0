"""`meshlab rules`: every rule with its value, unit, formula and reason."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from itertools import groupby

from cli.terminal import BOLD, painted, say, say_json, table
from lab.rules.explain import MODULES, Rule, explain, markdown, moves, preset_rulebook, shown


def command(options: argparse.Namespace) -> int:
    """Print the rulebook of a preset for people, as JSON, or as docs/RULES.md."""
    rules = list(explain(preset_rulebook(options.preset)))
    if options.markdown:
        say(markdown().removesuffix("\n"))
    elif options.json:
        states = [dict(zip(("from", "event", "to"), move, strict=True)) for move in moves()]
        say_json({"preset": options.preset, "rules": [rule._asdict() for rule in rules], "task_states": states})
    else:
        _for_people(options.preset, rules)
    return 0


def _for_people(preset: str, rules: list[Rule]) -> None:
    say(f"The rulebook, preset {preset}. Any value can be set in a scenario under `rules:`.")
    for group, members in groupby(rules, key=lambda rule: rule.path.partition(".")[0]):
        doc = (MODULES[group].__doc__ or "").strip().splitlines()[0]
        say(f"\n{painted(group, BOLD)}: {doc}")
        _group(list(members))
    say(f"\n{painted('task states', BOLD)}")
    for line in table(moves(), ("from", "event", "to")):
        say(f"  {line}")


def _group(rules: list[Rule]) -> None:
    """A line of name, value, unit and formula for each rule; its reason below."""
    width = max(50, min(120, shutil.get_terminal_size((100, 24)).columns))
    rows = [(rule.path.partition(".")[2], shown(rule.value), rule.unit, rule.formula) for rule in rules]
    for line, rule in zip(table(rows), rules, strict=True):
        say(f"  {line}")
        say(textwrap.fill(rule.reason, width, initial_indent=" " * 6, subsequent_indent=" " * 6))
