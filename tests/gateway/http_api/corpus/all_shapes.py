"""Shapes of HTTP/1 requests, good and bad, by name: what the differential test and the fuzz test send."""

from tests.gateway.http_api.corpus.chunks import CHUNKED_BODIES
from tests.gateway.http_api.corpus.exchanges import EXCHANGES
from tests.gateway.http_api.corpus.framing import FRAMING
from tests.gateway.http_api.corpus.heads import HEADS
from tests.gateway.http_api.corpus.targets import REQUEST_LINES

CORPUS = FRAMING | CHUNKED_BODIES | HEADS | REQUEST_LINES | EXCHANGES
