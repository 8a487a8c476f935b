"""A Jina Flow that traces, with an Executor that answers with the trace which it works for.

Usage: traced_flow.py. Prints the URLs as one line of JSON when it is ready, and ends when its standard input does. Its
spans go nowhere: nobody listens where they are sent.
"""

import json
import multiprocessing
import os
import sys

os.environ.update(JINA_LOG_LEVEL='CRITICAL', JINA_HIDE_SURVEY='1', JINA_OPTOUT_TELEMETRY='1')

from jina import DocumentArray, Executor, Flow, requests
from opentelemetry import trace
from ports import HOST, free_ports


class Traced(Executor):
    @requests(on='/encode')
    def encode(self, docs: DocumentArray, tracing_context=None, **kwargs):
        context = trace.get_current_span(tracing_context).get_span_context()
        for doc in docs:
            doc.embedding = [float(context.is_valid)]
            doc.tags['trace'] = f'{context.trace_id:032x}'


if __name__ == '__main__':
    ports = free_ports(4)
    flow = Flow(
        protocol=['grpc', 'http', 'websocket'],
        port=ports[:3],
        host=HOST,
        tracing=True,
        traces_exporter_host=HOST,
        traces_exporter_port=ports[3],
    ).add(uses=Traced, host=HOST)
    flow.start()
    urls = {scheme: f'{scheme}://{HOST}:{port}' for scheme, port in zip(('grpc', 'http', 'ws'), ports)}
    print('\n' + json.dumps(urls), flush=True)
    sys.stdin.read()
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(0)
