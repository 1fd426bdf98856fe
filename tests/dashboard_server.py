"""`depthbox dashboard` in a process of its own, as a user starts it."""

import signal
import subprocess
import sys

import psutil


class Server:
    """Takes its time: `ready` waits until it answers."""

    def __init__(self, uri: str, port: int) -> None:
        # Tests that run in a shell's background job would hand on an ignored Ctrl-C.
        code = (
            "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
            f"from depthbox.tracking import dashboard; sys.exit(dashboard({uri!r}, port={port}))"
        )
        self.process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        self.said: list[str] = []
        self.address = ""

    def ready(self) -> "Server":
        for line in self.process.stdout:
            self.said.append(line)
            if "is shown at" in line:
                break
        assert "is shown at" in self.said[-1]
        self.address = self.said[-1].split(" at ")[1].split()[0]
        return self

    def stop(self) -> int:
        children = psutil.Process(self.process.pid).children(recursive=True)
        assert len(children) <= 3  # the server, its one worker, and what multiprocessing adds to it
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(20)
        psutil.wait_procs(children, timeout=5)
        assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
        self.process.stdout.close()
        return code
