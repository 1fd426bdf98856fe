"""The same objects with fewer classes: a COCO file whose categories are merged. How much of a model's trouble is to tell classes apart?

    uv run python experiments/merge_classes.py BLOCKS/instances/annotations/instances_train.json OUT.json round=sphere,cylinder,cone,torus \
        angular=box,monkey,crystal,furniture

Every category must be in one group. `data.train.annotations=OUT.json` may lie anywhere (an absolute path), the photos stay where they are.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from depthbox.core.config import parse_overrides
from depthbox.core.errors import UsageError


def merged(document: Mapping, groups: Mapping[str, Sequence[str]]) -> dict:
    """`document` with one category a group, numbered from 1. Raises `UsageError` for a category in no group, or in two, and for a name it does not have."""
    group_of = {name: number for number, names in enumerate(groups.values(), start=1) for name in names}
    names = {category["id"]: category["name"] for category in document["categories"]}
    if sorted(group_of) != sorted(names.values()) or sum(map(len, groups.values())) != len(group_of):
        raise UsageError(f"each of {', '.join(names.values())} belongs to one group: NAME=CATEGORY,CATEGORY")
    annotations = [one | {"category_id": group_of[names[one["category_id"]]]} for one in document["annotations"]]
    categories = [{"id": number, "name": name} for number, name in enumerate(groups, start=1)]
    return {**document, "categories": categories, "annotations": annotations}


def main(words: list[str]) -> None:
    source, target, *asked = words
    groups = {name: names.split(",") for name, names in parse_overrides(asked).items()}
    Path(target).write_text(json.dumps(merged(json.loads(Path(source).read_text()), groups)))


if __name__ == "__main__":
    main(sys.argv[1:])
