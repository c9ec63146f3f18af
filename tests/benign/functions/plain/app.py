"""The smallest function there is, and what it can see of its process."""

import os
import signal
import sys
import threading


def handler(event, context):
    return {
        "sum": sum(range(1000)),
        "function": context.function_name,
        "deadline": 0 < context.get_remaining_time_in_millis() <= 20_000,
        "ids": [os.getuid(), os.getgid()],
        "cwd": os.getcwd(),
        "home": os.environ.get("HOME"),
        "task": os.environ["LAMBDA_TASK_ROOT"],
        "flags": list(sys.flags[:5]),
        "threads": threading.active_count(),
        "signals": sorted(int(number) for number in signal.Signals if signal.getsignal(number) not in (signal.SIG_DFL, None)),
        "mask": sorted(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "modules": [name for name in ("os", "json", "subprocess", "socket") if name in sys.modules],
    }
