"""A queue's other ends by pika: `fill`, of a kind and size; `process`, as most Python services do, a message at a time, which writes the seconds it took to
stdout; and `left`, which writes how many messages nobody has. The URL is in LONGSHORE_URL."""

import os
import sys
import time

import pika

what, queue, count, size, kind = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
connection = pika.BlockingConnection(pika.URLParameters(os.environ["LONGSHORE_URL"]))
channel = connection.channel()


def fill():
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
    for n in range(count):
        properties = pika.BasicProperties(delivery_mode=2, message_id=str(n))
        body = f"s3://videos/camera-{n // 1000:04}/clip-{n:08}.mp4".encode().ljust(size, b"x")
        channel.basic_publish("", queue, body, properties)
    # Of a channel without confirms, the queue alone knows when all of it is there.
    while channel.queue_declare(queue, passive=True).method.message_count < count:
        time.sleep(0.01)


def process():
    settled = 0

    def message(channel, method, _properties, _body):
        nonlocal settled
        settled += 1
        channel.basic_ack(method.delivery_tag)
        if settled == count:
            channel.stop_consuming()

    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue, message)
    began = time.monotonic()
    channel.start_consuming()
    print(time.monotonic() - began)


def left():
    print(channel.queue_declare(queue, passive=True).method.message_count)


{"fill": fill, "process": process, "left": left}[what]()
connection.close()
