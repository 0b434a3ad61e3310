"""Writes what its input says, a JSON object a line, to brokers by confluent-kafka; ends when all of it is confirmed.

{"partition", "key", "value", "headers", "timestamp"}: a record; bytes in base64, or null. {"count", "size"}: so many records. {"begin"}, {"commit"},
{"abort"}: transactions. {"flush"}: what comes is in another batch.
"""
import base64
import json
import sys

from confluent_kafka import Producer

brokers, topic = sys.argv[1:3]
lines = [json.loads(line) for line in sys.stdin]
settings = {"bootstrap.servers": brokers, "enable.idempotence": True, "message.max.bytes": 20_000_000, "linger.ms": 5}
transactions = any("begin" in line for line in lines)
if transactions:
    settings["transactional.id"] = topic
producer = Producer(settings)
if transactions:
    producer.init_transactions(60)
failed = []


def confirmed(error, _message):
    if error:
        failed.append(error)


def send(**record):
    while True:
        try:
            return producer.produce(topic, on_delivery=confirmed, **record)
        except BufferError:
            producer.poll(0.1)


def native(text):
    return None if text is None else base64.b64decode(text)


for line in lines:
    if "begin" in line:
        producer.begin_transaction()
    elif "commit" in line:
        producer.commit_transaction(60)
    elif "abort" in line:
        producer.flush(60)
        producer.abort_transaction(60)
    elif "flush" in line:
        producer.flush(60)
    elif "count" in line:
        for n in range(line["count"]):
            send(partition=line["partition"], value=str(n).ljust(line["size"], "x"))
            producer.poll(0)
    else:
        headers = [(name, native(value)) for name, value in line.get("headers", [])]
        record = {"partition": line["partition"], "headers": headers, "timestamp": line.get("timestamp", 0)}
        send(key=native(line.get("key")), value=native(line.get("value")), **record)
        producer.poll(0)
left = producer.flush(120)
if left or failed:
    sys.exit(f"{left} records are not confirmed, {failed}")
