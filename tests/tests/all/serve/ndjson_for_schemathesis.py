"""Tells schemathesis how bodies of `application/x-ndjson` look: what it makes up goes out as it is, or as a line of JSON."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson", "application/octet-stream")
def lines(ctx, value):
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    values = value if isinstance(value, list) else [value]
    return "".join(json.dumps(one) + "\n" for one in values).encode()
