"""The self-hosted service: a gateway in front of engines in processes of their own. Needs the extra `[server]`."""
