#!/bin/sh
exec python3 /var/task/web.py
