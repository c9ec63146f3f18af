"""Says whether text or bytes come from the event that is being handled.

It looks the event up in the runtime client's frame, where that keeps it, and compares: it follows no data, so what was
changed on the way (compressed, put together from pieces) is not known again. Everything is bounded, whatever the event
holds. `detections` asks; only while an invocation runs is there an event.
"""

import json
import re
import sys
from base64 import b64decode
from binascii import unhexlify

from ringfence import origin

# Shorter text stands in many places by chance.
SHORTEST = 8
MAX_VALUES = 4096
MAX_TEXT = 1 << 20

# What makes a value more than a word when it stands inside of code: it calls, quotes or ends something.
_CODE = re.compile(r"[(\[{`'\"\\;]|__")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+")
_URLSAFE = str.maketrans("-_", "+/")

# The request that the values below are of.
_request = None
_texts, _blobs = (), ()


def text_is_from_event(text, frame):
    """Whether the text stands in the event, or a part of the event that reads like code stands in it."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    text = text.strip()
    if len(text) < SHORTEST or not _load(frame):
        return False
    escaped = json.dumps(text)[1:-1]
    return any(text in value or escaped in value or (value in text and _CODE.search(value)) for value in _texts)


def bytes_are_from_event(data, frame):
    """Whether the bytes stand in the event, as they are or encoded."""
    return len(data) >= SHORTEST and _load(frame) and any(data in blob for blob in _blobs)


def event_names(words, frame):
    """Whether one value of the event holds all these words, as they are or encoded."""
    if not _load(frame):
        return False
    wanted = [word.encode("utf-8", "replace") for word in words]
    return any(all(word in blob for word in wanted) for blob in _blobs)


def _load(frame):
    """Takes the values of the event that is being handled, once; false where there is none."""
    global _request, _texts, _blobs
    found = _client_frame(frame)
    if found is None:
        return False
    variables = found.f_locals
    request = (variables.get("invoke_id"), id(variables.get("event")))
    if request != _request:
        texts = list(_strings(variables.get("event")))
        decoded = [data for data in map(_decoded, texts) if data]
        _blobs = tuple([text.encode("utf-8", "replace") for text in texts] + decoded)
        _texts = tuple(texts + [data.decode("utf-8", "replace") for data in decoded])
        _request = request
    return bool(_texts)


def _client_frame(frame):
    """The runtime client's frame that handles the event: of this thread, or of another that may have started it."""
    return _handling(frame) or next(filter(None, map(_handling, sys._current_frames().values())), None)


def _handling(frame):
    for _ in range(origin.MAX_DEPTH):
        if frame is None:
            return None
        code = frame.f_code
        if code.co_name == "handle_event_request" and origin.kind_of(code.co_filename) == origin.RUNTIME:
            return frame
        frame = frame.f_back
    return None


def _strings(event):
    """The texts in the event, keys too."""
    waiting, left, room = [event], MAX_VALUES, MAX_TEXT
    while waiting and left and room > 0:
        value = waiting.pop()
        left -= 1
        if isinstance(value, dict):
            waiting.extend(list(value)[:left])
            waiting.extend(list(value.values())[:left])
        elif isinstance(value, list):
            waiting.extend(value[:left])
        elif isinstance(value, str) and len(value) >= SHORTEST:
            value = value[:room]
            room -= len(value)
            yield value


def _decoded(text):
    """What stands behind base64 or hex; None for other text."""
    text = text.strip()
    try:
        if _HEX.fullmatch(text):
            return unhexlify(text)
        if _BASE64.fullmatch(text):
            text = text.rstrip("=").translate(_URLSAFE)
            return b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        pass
    return None
