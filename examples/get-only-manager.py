#!/usr/bin/env python3
"""The least a queue manager can be: lists a source, gets each item it has not done yet, and runs a command for it.

    examples/get-only-manager.py http://127.0.0.1:8080 --path /items -- \\
        script-worker --output 'file:///results/{key}/' --allow-input file:///videos/ -- ./job.sh

It knows nothing of Longshore but two GETs and one variable, as in the work queue pattern of Burns, "Designing Distributed
Systems", ch. 10: it never settles, pages, watches or reads a report. What it has done it remembers in a file of names.
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request


class SourceError(Exception):
    """The source is not there, has not seen its folder yet (503), or does not know the item any more (404, 410)."""


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise SourceError(f"{url}: {error}") from error


def run(command, name, data):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as item:
        json.dump(data, item)
        item.flush()
        environment = {**os.environ, "WORK_ITEM_FILE": item.name, "WORK_ITEM_NAME": name}
        return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL).returncode


def work(items_url, command, done, remember):
    """Goes once through the list and returns the names that are not done at the end."""
    left = []
    for name in get(items_url)["items"]:
        if name in done:
            continue
        try:
            item = get(f"{items_url}/{urllib.parse.quote(name, safe='')}")
        except SourceError as error:
            print(error, file=sys.stderr)
            left.append(name)
            continue
        code = run(command, name, item["data"])
        print(f"{name}: exit code {code}", flush=True)
        if code == 0:
            done.add(name)
            print(name, file=remember, flush=True)
        else:
            left.append(name)
    return left


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="the ambassador, http://127.0.0.1:8080")
    parser.add_argument("command", nargs="+", help="what to run for each item, with WORK_ITEM_FILE")
    parser.add_argument("--path", default="/v1/items", help="where the items are: /v1/items, /api/v1/items or /items")
    parser.add_argument("--done", default="done.txt", help="the file that remembers what is done, a name a line")
    parser.add_argument("--every", type=float, default=5, help="seconds between two lists")
    parser.add_argument("--once", action="store_true", help="end after one list: 0 when all of it is done, else 1")
    args = parser.parse_args()

    with open(args.done, "a+", encoding="utf-8") as remember:
        remember.seek(0)
        done = set(remember.read().split("\n"))
        while True:
            try:
                left = work(args.source.rstrip("/") + args.path, args.command, done, remember)
                if args.once:
                    return 1 if left else 0
            except SourceError as error:
                print(error, file=sys.stderr)
            time.sleep(args.every)


if __name__ == "__main__":
    sys.exit(main())
