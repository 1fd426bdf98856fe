"""`depthbox submit [address=URL] [working_dir=DIR] [wait=no] COMMAND ...`: any command, as a job of a cluster."""

import argparse
import sys
from dataclasses import dataclass

from depthbox.commands.answer import end_with_json, for_people
from depthbox.core.config import parse_overrides, vary
from depthbox.core.errors import UsageError

__all__ = ["SubmitSettings", "command"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitSettings:
    """`address` is the dashboard's; `working_dir` travels with the job; without `wait` the output is not followed."""

    address: str = ""
    working_dir: str = "."
    wait: bool = True


def command(arguments: argparse.Namespace) -> int:
    settings, words = _split(arguments.words)
    asked = vary(SubmitSettings(), parse_overrides(settings))
    from depthbox.submit import entrypoint, follow, submit

    people = for_people(as_json=arguments.json)
    if arguments.dry_run:
        print(entrypoint(words), file=people)
        return 0
    job = submit(words, address=asked.address, working_dir=asked.working_dir)
    print(f"{job.id} is on {job.address}", file=people, flush=True)
    status = 0
    if asked.wait:
        try:
            status = follow(job, lambda text: print(text, end="", file=people, flush=True))
        except KeyboardInterrupt:
            print(f"\nthe job goes on: ray job logs --follow {job.id}, ray job stop {job.id}", file=sys.stderr)
            return 130
    if arguments.json:
        end_with_json({"job": job.id, "address": job.address, "status": status if asked.wait else None})
    return status


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Settings of the submission up to the first word without "=", then the job's command."""
    first = next((i for i, word in enumerate(words) if "=" not in word), None)
    if first is None:
        raise UsageError("which command? depthbox submit [address=URL] train METHOD path=value ...")
    return words[:first], words[first:]
