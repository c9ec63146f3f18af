"""HTTP by every client in use, by name and by address, several at once, and look-ups of every kind."""

import asyncio
import os
import socket
import ssl
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import httpx
import requests

SECURE, PLAIN = "https://api.example.com/items", "http://api.example.com/items"
trust = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
session = requests.Session()


async def by_httpx():
    async with httpx.AsyncClient(verify=trust) as client:
        return [answer.json() for answer in await asyncio.gather(*(client.get(SECURE) for _ in range(10)))]


async def by_aiohttp():
    async with aiohttp.ClientSession() as client:
        async with client.get(SECURE, ssl=trust) as secure, client.get(PLAIN) as plain:
            return [await secure.json(), await plain.json()]


def by_urllib(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def look_ups():
    entries = socket.getaddrinfo("api.example.com", 443, type=socket.SOCK_STREAM)
    return {
        "all": sorted(entry[4][0] for entry in entries), "one": socket.gethostbyname("api.example.com"),
        "many": socket.gethostbyname_ex("api.example.com")[2], "localhost": socket.gethostbyname("localhost"),
        "service": socket.getservbyname("https"),
        "address": socket.getaddrinfo("198.51.100.7", 8080, type=socket.SOCK_STREAM)[0][4][0],
    }


def handler(event, context):
    with ThreadPoolExecutor(16) as pool:
        threads = list(pool.map(by_urllib, [SECURE, PLAIN] * 16))
    return {
        "urllib": threads, "address": by_urllib("http://198.51.100.7:8080/"), "requests": session.get(SECURE).json(),
        "again": [session.get(SECURE).status_code for _ in range(5)], "httpx": asyncio.run(by_httpx()),
        "httpx, not asynchronous": httpx.get(PLAIN).json(), "aiohttp": asyncio.run(by_aiohttp()), "names": look_ups(),
    }
