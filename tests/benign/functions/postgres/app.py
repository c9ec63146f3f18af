"""PostgreSQL through its usual clients, against a real server that the function starts on loopback."""

import os
import shutil
import subprocess
import time

import psycopg
import psycopg2

BIN = "/usr/lib/postgresql/15/bin"


def postgres():
    shutil.rmtree("/tmp/pg", ignore_errors=True)
    made = subprocess.run([f"{BIN}/initdb", "-D", "/tmp/pg", "-A", "trust", "-U", "shop", "--no-locale", "-N"], capture_output=True, text=True)
    if made.returncode:
        raise RuntimeError(made.stderr)
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=/tmp", "-c", "fsync=off"]
    return subprocess.Popen([f"{BIN}/postgres", "-D", "/tmp/pg", "-p", "5433", *options], stdout=subprocess.DEVNULL, stderr=open("/tmp/pg.log", "w"))


def patiently(work):
    for _ in range(100):
        try:
            return work()
        except (OSError, psycopg2.OperationalError) as error:
            last = error
            time.sleep(0.1)
    raise last


server = postgres()


def handler(event, context):
    def rows(connect, **where):
        connection = patiently(lambda: connect(dbname="postgres", user="shop", port=5433, **where))
        with connection, connection.cursor() as cursor:
            cursor.execute("select sum(n), current_user from generate_series(1, 1000) n")
            return [str(cell) for cell in cursor.fetchone()]

    return {
        "by tcp": rows(psycopg2.connect, host="127.0.0.1"),
        "by name": rows(psycopg2.connect, host="localhost"), "by unix": rows(psycopg2.connect, host="/tmp"),
        "psycopg 3": rows(psycopg.connect, host="127.0.0.1"), "ended": server.poll(),
    }
