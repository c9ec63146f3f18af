"""Metrics of the own process and of the machine, as monitoring libraries collect them."""

import psutil


def handler(event, context):
    own = psutil.Process()
    with own.oneshot():
        names = sorted(own.as_dict(["pid", "name", "memory_info", "num_threads", "num_fds", "cpu_times", "cmdline", "cwd", "status"]))
    maps = len(own.memory_maps()) > 0
    return {
        "names": names, "maps": maps, "open": isinstance(own.open_files(), list),
        "connections": isinstance(own.net_connections(), list), "cpu": psutil.cpu_count() > 0, "load": len(psutil.getloadavg()),
        "memory": psutil.virtual_memory().total > 0, "disk": psutil.disk_usage("/tmp").total > 0,
        "processes": len(list(psutil.process_iter(["pid", "name", "username"]))) > 0, "net": bool(psutil.net_if_addrs()),
    }
