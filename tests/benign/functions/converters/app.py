"""What hands documents to converters: ImageMagick and ffmpeg with their threads, delegates and files in /tmp."""

import hashlib
import subprocess


def run(*command, given=None):
    ended = subprocess.run(command, input=given, capture_output=True, timeout=60)
    return ended.returncode, ended.stdout


def digest(result):
    status, made = result
    return [status, hashlib.sha256(made).hexdigest()]


def thumbnail():
    run("/usr/bin/convert", "-size", "640x480", "gradient:red-blue", "/tmp/picture.png")
    return digest(run("/usr/bin/convert", "/tmp/picture.png", "-resize", "64x48", "-strip", "rgb:-"))


def film():
    """A second of a test picture, and one frame of it."""
    made = run("/usr/bin/ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc=duration=1:size=160x120:rate=10",
               "-threads", "2", "-c:v", "mpeg4", "/tmp/film.mp4")
    frame = run("/usr/bin/ffmpeg", "-v", "error", "-i", "/tmp/film.mp4", "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    seconds = run("/usr/bin/ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", "/tmp/film.mp4")
    return [made[0], frame[0], len(frame[1]), seconds[1].decode().strip()]


def handler(event, context):
    piped = run("/usr/bin/convert", "-", "-negate", "rgb:-", given=b"P6 2 1 255\n" + bytes(range(6)))
    return {"thumbnail": thumbnail(), "film": film(), "piped": [piped[0], list(piped[1])]}
