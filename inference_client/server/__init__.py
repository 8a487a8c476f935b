"""The self-hosted service: a Jina Flow around an engine. Needs the extra `[server]`."""
