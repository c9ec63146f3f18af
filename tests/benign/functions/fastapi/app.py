"""FastAPI behind mangum: a coroutine, a plain function (which runs in a thread of its own), a body that is checked, a stream."""

import threading

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from mangum import Mangum
from pydantic import BaseModel

api = FastAPI()


class Item(BaseModel):
    name: str
    price: float


@api.get("/now")
async def now():
    return {"now": True}


@api.get("/thread")
def thread():
    return {"main": threading.current_thread() is threading.main_thread()}


@api.post("/items")
def items(item: Item):
    return {"name": item.name.upper(), "price": item.price * 2}


@api.get("/stream")
def stream():
    return StreamingResponse((f"{n};" for n in range(100)), media_type="text/plain")


handler = Mangum(api, lifespan="off")
