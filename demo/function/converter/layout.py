"""Breaks lines at a width, with the system's fold(1): the honest child process of this service."""

import subprocess


def fold(text, width):
    command = ["/usr/bin/fold", "-s", "-w", str(width)]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=5, check=True).stdout
