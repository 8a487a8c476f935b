"""Servers with a REST API of their own: a dialect for each, without I/O, and two transports that all of them share.

Request ──▶ Dialect.run ──calls──▶ RestTransport / AsyncRestTransport ──HTTP──▶ server
Response ◀──             ◀─answers──
"""
