"""The files that `meshlab plan` writes: the plan as a page, as data or as a table, and the winner's scenario."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cli.plan_words import report
from cli.targets import target, writing
from cli.terminal import tell

if TYPE_CHECKING:
    from lab.planning import Answer
    from lab.planning_confirm import Confirmation

FORMATS: Final = (".html", ".json", ".csv", ".parquet")
COLOUR: Final = re.compile(r"\x1b\[[\d;]*m")
WORDS: Final = ("p99", "p95", "p50", "queue_wait_p99", "drain_max", "dead_max", "rss_max", "policies", "replications")


@dataclass
class Files:
    """What was asked for, checked before the work rather than after it."""

    out: Path | None
    yaml: Path | None
    command: str
    written: list[Path] = field(default_factory=list)

    @classmethod
    def asked(cls, options: argparse.Namespace) -> Files:
        """The files of --out and --yaml. Raises UsageError for a place or an ending that cannot be."""
        return cls(target("--out", options.out, FORMATS), target("--yaml", options.yaml), _command(options))

    def write(self, answer: Answer, confirmation: Confirmation | None) -> None:
        """Write them, or write them anew. Raises Unavailable if one cannot be written."""
        if self.out is not None:
            self._write(self.out, answer, confirmation)
        if self.yaml is not None and answer.winner is not None:
            self._write(self.yaml, answer, confirmation)

    def tell(self) -> None:
        """Say what was written."""
        for path in self.written:
            tell(f"written to {path}")

    def _write(self, path: Path, answer: Answer, confirmation: Confirmation | None) -> None:
        with writing("--yaml" if path == self.yaml else "--out", path) as scratch:
            if path == self.yaml:
                scratch.write_text(_yaml(answer), encoding="utf-8")
            elif path.suffix.lower() == ".parquet":
                answer.table().to_parquet(scratch, index=False)
            elif path.suffix.lower() == ".csv":
                answer.table().to_csv(scratch, index=False, lineterminator="\n")
            else:
                scratch.write_text(self._text(path, answer, confirmation), encoding="utf-8")
        if path not in self.written:
            self.written.append(path)

    def _text(self, path: Path, answer: Answer, confirmation: Confirmation | None) -> str:
        data = {**answer.as_json(), "confirmation": None if confirmation is None else confirmation.as_json()}
        if path.suffix.lower() == ".json":
            return json.dumps(data, indent=2, allow_nan=False) + "\n"
        from lab.figures_planning import page

        lines = [COLOUR.sub("", line) for line in report(answer)]
        if confirmation is not None:
            data["words"] = [*data["words"], *confirmation.words]
        return page(data, lines, None if answer.winner is None else _yaml(answer), self.command)


def _yaml(answer: Answer) -> str:
    """The scenario on the winner, which holds in any folder, with the answer as its first comment."""
    from lab.standalone import yaml_text

    said = [answer.words[0], f"By meshlab plan: {', '.join(one.words for one in answer.objectives)}."]
    return "".join(f"# {line}\n" for line in said) + yaml_text(answer.chosen)


def _command(options: argparse.Namespace) -> str:
    """The command line that makes this plan again."""
    words = ["meshlab", "plan", str(options.scenario)]
    for name in WORDS:
        if (value := getattr(options, name)) is not None:
            words += [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    for name, default in (("worker", 1.0), ("slot", 0.0), ("attempt", 0.0)):
        if (price := getattr(options, f"cost_{name}")) != default:
            words += [f"--cost-{name}", f"{price:g}"]
    for name in ("workers", "slots"):
        if (values := getattr(options, name)) is not None:
            span = isinstance(values, range)
            words += [f"--{name}", f"{values[0]}..{values[-1]}" if span else ",".join(map(str, values))]
    if options.seed is not None:
        words += ["--seed", str(options.seed)]
    for setting in options.set:
        words += ["--set", setting]
    return shlex.join(words)
