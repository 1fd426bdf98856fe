"""`depthbox select images=DIR count=N out=DIR`: which photos to label next, and why."""

import argparse

from depthbox.commands.answer import end_with_json, for_people
from depthbox.core.config import parse_overrides, vary
from depthbox.stages.selecting import Selection, select_photos

__all__ = ["command"]


def command(arguments: argparse.Namespace) -> int:
    asked = vary(Selection(), parse_overrides(arguments.words))
    people = for_people(as_json=arguments.json)
    found = select_photos(asked, say=lambda line: print(line, file=people, flush=True))
    for line in found.unreadable:
        print(f"left out: {line}", file=people)
    print(f"{found.title}\nlist  {found.list_file}\npage  {found.page}", file=people)
    if arguments.json:
        facts = {"images": found.images, "unreadable": list(found.unreadable), "out": str(found.list_file.parent)}
        end_with_json({"selected": list(found.rows), **facts})
    return 0
