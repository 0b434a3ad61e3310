"""A queue's other end, by pika: what is done to it is said on the command line, messages come and go as JSON, one a line."""

import base64
import json
import signal
import struct
import sys
import time

import pika

signal.alarm(170)
what, url, queue, *rest = sys.argv[1:]
parameters = pika.URLParameters(url)
parameters.heartbeat = 0
channel = pika.BlockingConnection(parameters).channel()


def bytes_of(line):
    return base64.b64decode(line["base64"]) if "base64" in line else line["body"].encode()


class Nested(tuple):
    """Arrays in arrays, so many levels: deeper than pika would go."""


def encode(pieces, value, otherwise=pika.data.encode_value):
    if not isinstance(value, Nested):
        return otherwise(pieces, value)
    (levels,) = value
    pieces.append(b"".join(b"A" + struct.pack(">I", 5 * level) for level in reversed(range(levels))))
    return len(pieces[-1])


pika.data.encode_value = encode


def bare(value):
    if str(value).startswith("base64:"):
        return base64.b64decode(value[7:])
    return Nested([int(value[7:])]) if str(value).startswith("nested:") else value


def properties_of(line):
    names = ("message_id", "headers", "correlation_id", "content_type", "type", "timestamp", "priority")
    said = {name: bare(line[name]) for name in names if name in line}
    headers = {bare(name): bare(value) for name, value in said.get("headers", {}).items()}
    return pika.BasicProperties(delivery_mode=2, **{**said, **({"headers": headers} if headers else {})})


if what == "declare":
    arguments = json.loads(rest[0])
    channel.queue_declare(queue, durable=True, arguments=arguments)
elif what == "exchange":
    # A fanout of this name, and a queue of the same name that is bound to it.
    channel.exchange_declare(queue, "fanout", durable=True)
    channel.queue_declare(queue, durable=True)
    channel.queue_bind(queue, queue)
elif what == "delete":
    channel.queue_delete(queue)
elif what == "publish":
    channel.confirm_delivery()
    for line in sys.stdin:
        line = json.loads(line)
        exchange, key = line.get("exchange", ""), bare(line.get("routing_key", queue))
        channel.basic_publish(exchange, key, bytes_of(line), properties_of(line), mandatory=True)
elif what == "pour":
    # So many, with ids, not waiting for each.
    count = int(rest[0])
    for n in range(count):
        channel.basic_publish("", queue, f"item-{n}".encode(), pika.BasicProperties(delivery_mode=2, message_id=str(n)))
    while channel.queue_declare(queue, passive=True).method.message_count < count:
        time.sleep(0.05)
elif what == "take":
    # So many, and what comes after them, as a consumer.
    left = int(rest[0])
    for method, properties, body in channel.consume(queue, auto_ack=True):
        print(body.decode())
        left -= 1
        if left == 0:
            break
    print("more\n" * (channel.cancel() + channel.queue_declare(queue, passive=True).method.message_count), end="")
elif what == "hold":
    # Has it, or its messages, for himself until there is no more to read.
    if rest[0] == "queue":
        channel.queue_declare(queue, exclusive=True)
    else:
        channel.basic_consume(queue, lambda *message: None, exclusive=True)
    print("held", flush=True)
    sys.stdin.read()
elif what == "touch":
    # Takes the first, and gives it back.
    channel.basic_get(queue)
elif what == "depth":
    print(channel.queue_declare(queue, passive=True).method.message_count)
elif what == "drain":
    while True:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            break
        line = {
            "base64": base64.b64encode(body).decode(),
            "message_id": properties.message_id,
            "delivery_mode": properties.delivery_mode,
            "headers": properties.headers or {},
            "redelivered": method.redelivered,
        }
        print(json.dumps(line, default=lambda value: f"base64:{base64.b64encode(value).decode()}" if isinstance(value, bytes) else str(value)))
else:
    sys.exit(f"{what}?")
