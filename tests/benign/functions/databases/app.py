"""PostgreSQL and Redis through their usual clients, on servers elsewhere in the network, as functions have them."""

import socket
from concurrent.futures import ThreadPoolExecutor

import psycopg
import psycopg2
import psycopg2.pool
import redis

HOST = "10.20.30.40"
WHERE = {"host": HOST, "port": 5433, "dbname": "postgres", "user": "shop", "connect_timeout": 10}

# Made at init and used by every event, as functions are advised to do.
kept = psycopg2.connect(**WHERE)
store = redis.Redis(HOST, 6380, decode_responses=True)


def summed(connection):
    with connection.cursor() as cursor:
        cursor.execute("select sum(n), current_user from generate_series(1, 1000) n")
        return [str(cell) for cell in cursor.fetchone()]


def fresh(connect):
    connection = connect(**WHERE)
    try:
        return summed(connection)
    finally:
        connection.close()


def pooled():
    pool = psycopg2.pool.ThreadedConnectionPool(4, 8, **WHERE)

    def one(_):
        connection = pool.getconn()
        try:
            return summed(connection)[0]
        finally:
            pool.putconn(connection)

    try:
        with ThreadPoolExecutor(4) as threads:
            return list(threads.map(one, range(12)))
    finally:
        pool.closeall()


def copied():
    with psycopg.connect(**WHERE) as connection, connection.cursor() as cursor:
        cursor.execute("create temporary table things (n int, t text)")
        with cursor.copy("copy things from stdin") as copy:
            for number in range(5000):
                copy.write_row((number, "x" * 100))
        return cursor.execute("select count(*), sum(length(t)) from things").fetchone()


def refused():
    """A port at which nobody listens: the policy allows it, the network does not."""
    try:
        socket.create_connection((HOST, 5499), timeout=5)
    except OSError as error:
        return error.errno


def remembered():
    with store.pipeline() as pipe:
        answers = pipe.set("a", 1).incr("a").get("a").execute()
    store.set("count", 0)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: store.incr("count"), range(200)))
    return [answers, store.get("count")]


def handler(event, context):
    return {
        "kept": summed(kept), "psycopg2": fresh(psycopg2.connect), "psycopg": fresh(psycopg.connect),
        "pool": pooled(), "copy": copied(), "refused": refused(), "redis": remembered(),
    }
