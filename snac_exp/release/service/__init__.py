"""Tokens to audio over HTTP and WebSocket, the streams of all clients decoded together."""
