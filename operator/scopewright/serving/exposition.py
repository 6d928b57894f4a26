"""The answer to a scrape of metrics."""

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from scopewright.http import Answer


def exposition(collector: Collector) -> Answer:
    """What the collector has now, in the text format of Prometheus."""
    collectors = CollectorRegistry()
    collectors.register(collector)
    headers = ((b"content-type", CONTENT_TYPE_LATEST.encode()), (b"cache-control", b"no-store"))
    return Answer(200, headers, generate_latest(collectors))
