"""The Ascend REST API as data: its wire types, and one table of its endpoints, for the clients and the server."""
