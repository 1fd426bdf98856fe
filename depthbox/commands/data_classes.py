"""`depthbox data validate | summary` of photos with a class for every pixel."""

from collections.abc import Mapping
from dataclasses import dataclass

from depthbox.commands.answer import end_with_json, for_people
from depthbox.core.config import vary
from depthbox.experiment import SemanticDataConfig

__all__ = ["is_semantic", "of_classes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassesQuestion:
    data: SemanticDataConfig = SemanticDataConfig()


def is_semantic(overrides: Mapping[str, str]) -> bool:
    """Whether the words speak of label maps."""
    return any(path == "data.table" or (path.startswith("data.") and path.endswith(".labels")) for path in overrides)


def of_classes(action: str, overrides: Mapping[str, str], *, as_json: bool) -> int:
    """Exit status 1 where there is a finding."""
    from depthbox.train.inputs import data_root
    from depthbox.train.semantic_check import class_shares, read_sets, validate_semantic

    asked = vary(ClassesQuestion(), overrides).data
    sets, findings = read_sets(asked, data_root(asked.root))
    people = for_people(as_json=as_json)
    answer: dict[str, object] = {"images": {name: len(data.records) for name, data in sets.items()}}
    if action == "validate":
        findings += validate_semantic(sets)
        answer["ok"] = not findings
    else:
        for name, data in sets.items():
            answer[name] = shares = class_shares(data)
            labelled = sum(bool(record.label_path) for record in data.records)
            print(
                f"data.{name}: {len(data.records)} photos, {labelled} with a label map; share of pixels:", file=people
            )
            print(*(f"  {one:<20} {share:.2%}" for one, share in shares.items()), sep="\n", file=people)
    for finding in findings:
        print(finding, file=people)
    counted = " and ".join(f"{len(data.records)} photos of {name}" for name, data in sets.items())
    print(f"{counted or 'nothing could be read'}: {len(findings)} finding{'s' * (len(findings) != 1)}", file=people)
    if as_json:
        end_with_json(answer | {"findings": findings})
    return 1 if findings else 0
