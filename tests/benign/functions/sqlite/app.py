"""A database in /tmp that lasts from event to event, with journals, locks, mappings and temporary files."""

import mmap
import os
import shelve
import sqlite3
import tempfile

os.makedirs("/tmp/data", exist_ok=True)


def handler(event, context):
    with sqlite3.connect("/tmp/data/kept.db") as connection:
        connection.execute("pragma journal_mode=wal")
        connection.execute("create table if not exists visits (id integer primary key, name text)")
        connection.executemany("insert into visits (name) values (?)", [(f"visitor {number}",) for number in range(1000)])
        connection.commit()
        count = connection.execute("select count(*) from visits").fetchone()[0]
        connection.execute("vacuum")
    with shelve.open("/tmp/data/shelf") as shelf:
        shelf["visits"] = shelf.get("visits", 0) + 1
        visits = shelf["visits"]
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 8192)
        file.flush()
        with mmap.mmap(file.fileno(), 0) as mapped:
            mapped[0:1] = b"y"
            first = bytes(mapped[:2]).decode()
    with tempfile.TemporaryDirectory() as folder:
        os.symlink("/tmp/data", os.path.join(folder, "link"))
        names = sorted(os.listdir(os.path.join(folder, "link")))
    return {"count": count, "visits": visits, "first": first, "has kept": "kept.db" in names}
