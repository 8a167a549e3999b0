"""Commands that take long (`sweep`, `plan`, `twin`, `calibrate`, `whatif`, …) as jobs outside the page's process.

    runs/.jobs/<time>-<nonce>.<kind>/   what was given to the command, and what it has written
                        job.json        what was asked, and when
                        status.json     where it stands, rewritten by the command
                        log             everything it printed

The same folder, the same care and the same end as a run's (ui/jobs.py). A run is the kind of job that leaves records;
what these leave are the files that their `--out {folder}/…` names.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import streamlit as st

from lab import record as records
from lab.errors import UsageError
from ui import jobs, progress, text

FOLDER = "{folder}"
"""Stands in a word for the folder of the job, as in `--out {folder}/result.json`."""
KIND = re.compile(r"[a-z][a-z0-9-]{0,39}")
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
OF_THE_JOB = frozenset({"job.json", "status.json", "cancel.json", "log"})
NO_FILES: Mapping[str, str] = MappingProxyType({})
KEPT = "Ends it as Ctrl-C would. What it has written until then is kept."


@dataclass(frozen=True, kw_only=True)
class LongJob(jobs.Work):
    """One job as its folder tells it now. `words` are the arguments of the command, the folder's name in its place."""

    kind: str
    title: str
    words: tuple[str, ...] = ()


def start(
    kind: str, title: str, words: Sequence[str], files: Mapping[str, str] = NO_FILES, launch: jobs.Launch | None = None
) -> str:
    """Start `meshlab KIND WORDS…` and return the job's id at once.

    `{folder}` in a word becomes the job's folder, into which `files` are written before: their text by their name.
    Raises UsageError for a kind or a file name that could leave that folder.
    """
    bad = [name for name in files if not FILE.fullmatch(name) or name in OF_THE_JOB]
    if bad or not KIND.fullmatch(kind):
        raise UsageError(f"{kind!r}, {bad}: a job's kind and the names of its files are plain words; choose others")
    now = records.now()
    job_id = f"{now:%Y%m%d-%H%M%S}-{records.nonce()}{jobs.LONG}{kind}"
    folder = jobs.jobs_dir() / job_id
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    spelled = [word.replace(FOLDER, str(folder)) for word in words]
    command = [sys.executable, "-m", "cli", kind, *spelled, "--status", str(folder / "status.json")]
    facts: dict[str, Any] = {"kind": kind, "title": title, "words": spelled}
    facts["started_at"] = now.isoformat(timespec="seconds")
    jobs.begin(folder, facts, command, launch)
    return job_id


def read(job_id: str) -> LongJob:
    """The job called `job_id`. Raises UsageError if there is none, and for a run (ui.jobs reads those)."""
    found = jobs.told(job_id) if jobs.LONG in job_id else None
    if found is None:
        raise UsageError(f"there is no job {job_id!r} in {jobs.runs_dir()}; start it again")
    facts, common = found
    kind = job_id.rpartition(jobs.LONG)[2]
    words = facts.get("words")
    return LongJob(
        **common,
        kind=kind,
        title=str(facts.get("title") or kind),
        words=tuple(str(word) for word in words) if isinstance(words, list) else (),
    )


def in_address(parameter: str = "job") -> LongJob | None:
    """The job that the page's address names; none if it names none, or one that is not there, which is told."""
    name = st.query_params.get(parameter)
    if not name:
        return None
    try:
        return read(name)
    except UsageError as error:
        st.error(text.escape(text.sentence(str(error))), icon=":material/search_off:")
        return None


def recent(kind: str) -> Iterator[str]:
    """The ids of the jobs of one kind, the newest first."""
    yield from (name for name in jobs.all_ids() if name.endswith(jobs.LONG + kind))


def watch(job: LongJob) -> None:
    """Follow an active job twice a second: a bar, an estimate, Cancel. The page is drawn anew when it has ended."""
    progress.follow(job, read, _panel, lambda _: False)


def _panel(job: LongJob) -> None:
    progress.panel(job, progress.fraction(job), sentence(job), KEPT, key=f"cancel-{job.id}")


def sentence(job: LongJob) -> str:
    """Where it stands, in one line of Markdown. What is counted (points, runs, tasks) its note says, if it must."""
    words = [f"**{text.escape(job.title)}**"]
    if job.state == "starting":
        return f":material/hourglass_top: {words[0]} · starting …"
    total = int(job.status.get("total") or 0)
    if total:
        words.append(f"{int(job.status.get('done') or 0):,} of {total:,}")
    return " · ".join([*words, *progress.still(job)])


def ended_badly(job: LongJob) -> None:
    """What happened to a job that failed or was cancelled, and where to look. Nothing for one that is done."""
    if job.state == "cancelled":
        st.warning(
            f"**{text.escape(job.title)}** was cancelled. What it had written until then is kept.",
            icon=":material/stop_circle:",
        )
    elif job.state == "failed":
        progress.failed(job, f"{text.escape(job.title)}: failed", "`meshlab doctor` tells what is missing here.")
