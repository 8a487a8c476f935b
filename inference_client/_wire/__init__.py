"""The wire of Jina servers: requests to bytes and bytes to responses, as protobuf or as JSON."""
