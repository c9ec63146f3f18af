"""Fetches a document from a URL and keeps it in /tmp, so that a warm environment fetches it once.

Flaw: the URL is the caller's. urllib follows file: URLs, and any host that the function can reach.
"""

import hashlib
import os
import urllib.request

FOLDER = "/tmp/converter/sources"
LIMIT = 1 << 20


def place(url):
    return os.path.join(FOLDER, hashlib.sha256(url.encode()).hexdigest()[:16])


def fetch(url):
    if not os.path.exists(place(url)):
        with urllib.request.urlopen(url, timeout=3) as response:
            data = response.read(LIMIT)
        os.makedirs(FOLDER, exist_ok=True)
        with open(place(url), "wb") as out:
            out.write(data)
    with open(place(url), "rb") as kept:
        return kept.read().decode("utf-8", "replace")


def cached():
    """How many documents the cache holds."""
    return len(os.listdir(FOLDER)) if os.path.isdir(FOLDER) else 0
