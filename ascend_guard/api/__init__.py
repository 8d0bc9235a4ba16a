"""The Ascend REST API as data: its wire types, and one table of its endpoints for both clients and the server."""
