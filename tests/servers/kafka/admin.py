"""Does with a Kafka what a test asks for: one JSON object a line in, one out (`ok` or `error`). Ends with its input.

Long-lived, for a start of Python and of its client costs more than most of what is asked. It is Confluent's client: no code of ours
says what is in the broker.
"""
import json
import os
import queue
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

# Longer than any machine stands still.
PATIENCE = 120
ADMIN = AdminClient(
    {
        "bootstrap.servers": sys.argv[1],
        "reconnect.backoff.max.ms": 200,
        "socket.timeout.ms": 10_000,
        "topic.metadata.refresh.sparse": False,
        "log_level": 0,
    }
)


def until(condition):
    """Looks until there is what `condition` gives."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            found = condition()
            if found is not None:
                return found
            last = "it is not so"
        # A broker that has not heard of a topic yet answers without its partitions.
        except (KafkaException, KeyError) as error:
            last = repr(error)
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {PATIENCE} s: {last}")
        time.sleep(0.02)


def all_of(futures):
    return {key: future.result(2 * PATIENCE) for key, future in futures.items()}


def ready(cluster, brokers):
    """Whether these brokers are of this cluster, and every partition that one of them has is led and can be read to its end."""
    try:
        seen = ADMIN.list_topics(timeout=2)
    except KafkaException:
        return False
    if seen.cluster_id != cluster or not set(brokers) <= set(seen.brokers):
        return False
    theirs = {
        TopicPartition(topic.topic, part.id): part.leader
        for topic in seen.topics.values()
        for part in topic.partitions.values()
        if set(part.replicas) & set(brokers)
    }
    if not all(leader in seen.brokers for leader in theirs.values()):
        return False
    try:
        # A leader that is new knows its end when others have followed it so far; until then a reader meets an end before that.
        all_of(ADMIN.list_offsets({part: OffsetSpec.latest() for part in theirs}) if theirs else {})
    except KafkaException:
        return False
    return True


def create_topic(name, partitions, replicas, config):
    topic = NewTopic(name, partitions, replicas, config=config)
    all_of(ADMIN.create_topics([topic], operation_timeout=PATIENCE, request_timeout=PATIENCE))

    # Metadata name a leader a moment before it knows that it is.
    until(lambda: True if len(offsets(name, "end")) == partitions else None)


def delete_topic(name):
    all_of(ADMIN.delete_topics([name], operation_timeout=PATIENCE, request_timeout=PATIENCE))
    until(lambda: None if name in ADMIN.list_topics(timeout=5).topics else True)


def configure_topic(name, config):
    entries = [
        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
    all_of(ADMIN.incremental_alter_configs([resource], request_timeout=PATIENCE))


def allow(user, kind, name, operations):
    binding = [
        AclBinding(
            ResourceType[kind], name, ResourcePatternType.LITERAL, f"User:{user}", "*",
            AclOperation[operation], AclPermissionType.ALLOW,
        )
        for operation in operations
    ]
    all_of(ADMIN.create_acls(binding, request_timeout=PATIENCE))
    # Written down, it is not yet known to the broker that is asked for leave.
    until(lambda: True if {one.operation for one in binding} <= rights(user, ResourceType[kind], name) else None)


def revoke(user):
    all_of(ADMIN.delete_acls([of(user, ResourceType.ANY, None)], request_timeout=PATIENCE))
    until(lambda: None if rights(user, ResourceType.ANY, None) else True)


def of(user, kind, name):
    pattern = ResourcePatternType.ANY if name is None else ResourcePatternType.LITERAL
    return AclBindingFilter(kind, name, pattern, f"User:{user}", None, AclOperation.ANY, AclPermissionType.ANY)


def rights(user, kind, name):
    """What a user may do, as a broker knows it."""
    return {one.operation for one in ADMIN.describe_acls(of(user, kind, name)).result(PATIENCE)}


def add_user(name, password):
    upsertions = [
        UserScramCredentialUpsertion(name, ScramCredentialInfo(mechanism, 4096), password.encode())
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)
    ]
    for upsertion in upsertions:
        all_of(ADMIN.alter_user_scram_credentials([upsertion], request_timeout=PATIENCE))


def leader(topic, partition):
    def led():
        found = ADMIN.list_topics(topic, timeout=5).topics[topic].partitions[partition].leader
        return found if found >= 0 else None

    return until(led)


def offsets(topic, which):
    """The first or last offset of every partition."""
    spec = OffsetSpec.earliest() if which == "first" else OffsetSpec.latest()

    def asked():
        count = len(ADMIN.list_topics(topic, timeout=10).topics[topic].partitions)
        if count == 0:
            return None
        found = all_of(ADMIN.list_offsets({TopicPartition(topic, part): spec for part in range(count)}))
        by_partition = {part.partition: result.offset for part, result in found.items()}
        return [by_partition[part] for part in range(count)]

    return until(asked)


def committed(group, topic):
    """What a group has committed of every partition; null where it has not."""
    count = until(lambda: len(ADMIN.list_topics(topic, timeout=10).topics[topic].partitions) or None)
    # It joins nothing. The admin client's own question ends Python where the group has no coordinator yet (2.16.1, SIGSEGV).
    consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": group, "log_level": 0})
    try:
        found = until(lambda: consumer.committed([TopicPartition(topic, part) for part in range(count)], timeout=10))
    finally:
        consumer.close()
    by_partition = {part.partition: part.offset for part in found}
    return [by_partition[part] if by_partition.get(part, -1) >= 0 else None for part in range(count)]


def trim(topic, partition, before):
    """Deletes the records before an offset."""
    all_of(ADMIN.delete_records([TopicPartition(topic, partition, before)], request_timeout=PATIENCE))


DOES = {
    f.__name__: f
    for f in (
        ready, create_topic, delete_topic, configure_topic, allow, revoke, add_user, leader, offsets, committed, trim,
    )
}


def read(asked):
    for line in sys.stdin:
        asked.put(json.loads(line))
    # Whoever asked is gone, perhaps in the middle of something.
    os._exit(0)


def main():
    asked = queue.Queue()
    threading.Thread(target=read, args=(asked,), daemon=True).start()
    while True:
        request = asked.get()
        try:
            answer = {"ok": DOES[request.pop("do")](**request)}
        except Exception as error:  # whatever it is, the test is told
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
