"""`depthbox doctor [tracking.uri=URI] [ray.address=ADDRESS]`: what is wrong with this installation, in words."""

import argparse
import os
from dataclasses import asdict, dataclass

from depthbox.commands.answer import end_with_json, for_people
from depthbox.commands.dashboard import Store, found_store
from depthbox.core.config import parse_overrides, vary

__all__ = ["DoctorSettings", "command"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorSettings:
    tracking: Store = Store()
    ray: Cluster = Cluster()


def command(arguments: argparse.Namespace) -> int:
    asked = vary(DoctorSettings(), parse_overrides(arguments.words))
    from depthbox.doctor import diagnose, render

    uri, _ = found_store(asked.tracking.uri)
    checks = diagnose(uri=uri or None, ray_address=asked.ray.address or os.environ.get("RAY_ADDRESS") or None)
    print(render(checks), file=for_people(as_json=arguments.json))
    healthy = all(check.ok is not False for check in checks)
    if arguments.json:
        end_with_json({"ok": healthy, "checks": [asdict(check) for check in checks]})
    return 0 if healthy else 1
