"""HTTP clients that people use, on an allowed host and on one that the policy refuses."""

import asyncio
import ssl
import time

import aiohttp
import httpx
import requests
import urllib3

tls = ssl.create_default_context()
pool = urllib3.PoolManager(ssl_context=tls, retries=urllib3.Retry(2, backoff_factor=0.1))
session = requests.Session()
session.mount("https://", requests.adapters.HTTPAdapter(max_retries=urllib3.Retry(2, backoff_factor=0.1)))


async def by_aiohttp(url):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as client, client.get(url) as answer:
        return await answer.json()


async def by_httpx(url):
    async with httpx.AsyncClient(verify=tls, http2=True) as client:
        return (await client.get(url)).json()


CLIENTS = {
    "requests": lambda url: session.get(url).json(), "urllib3": lambda url: pool.request("GET", url).json(),
    "httpx": lambda url: httpx.get(url, verify=tls).json(), "httpx2": lambda url: asyncio.run(by_httpx(url)),
    "aiohttp": lambda url: asyncio.run(by_aiohttp(url)),
}


def attempt(client, url):
    try:
        return client(url)
    except Exception as error:
        return type(error).__name__


def handler(event, context):
    began, urls = time.monotonic(), ["https://api.example.com/items"] + ["https://other.example/"] * bool(event.get("refused"))
    return [{name: [attempt(client, url) for url in urls] for name, client in CLIENTS.items()}, time.monotonic() - began < 25]
